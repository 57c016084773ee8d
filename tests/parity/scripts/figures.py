"""What the scripts of this folder print: their figures as one line of JSON, numbers as hexadecimal floats."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch


def exact(value: Any) -> Any:
    """A nest of numbers and tensors, with each number to its last bit."""
    if isinstance(value, torch.Tensor):
        return exact(value.tolist())
    if isinstance(value, dict):
        return {str(key): exact(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(entry) for entry in value]
    return value.hex() if isinstance(value, float) else value


def digest(model: torch.nn.Module) -> str:
    """One number for all weights and buffers."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def report(model: torch.nn.Module | None = None, means: Any = None, **figures: Any) -> None:
    """Prints the figures.

    Args:
        model: Whose weights count.
        means: Values logged over an epoch, which are added up in another precision (row 6 of docs/differences.md).
        **figures: Everything else.
    """
    weights = {} if model is None else {"weights": digest(model)}
    rounded = {} if means is None else {"means": {key: float(value) for key, value in means.items()}}
    print(json.dumps({**exact(figures), **weights, **rounded}))
