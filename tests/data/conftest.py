"""Comparing a pass over a loader with the loader's own, batch for batch and draw for draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

Trace = list[tuple[Any, ...]]


def _facts(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            return type(value), value.layout, value.to_dense().tolist()
        bits = value.detach().contiguous().view(torch.uint8).tolist() if value.ndim else value.item()
        return type(value), value.dtype, value.shape, value.stride(), value.device, value.requires_grad, bits
    if isinstance(value, (list, tuple)):
        return type(value), [_facts(item) for item in value]
    if isinstance(value, dict):
        return type(value), {key: _facts(item) for key, item in value.items()}
    return type(value), value


def _trace(make: Callable[[], DataLoader[Any]], opener: Callable[[Any], Iterator[Any] | None], epochs: int) -> Trace:
    """What a pass gives and how all generators stand after its opening, after each batch and at its end."""
    torch.manual_seed(7)
    loader = make()
    generators = [loader.generator, getattr(loader.sampler, "generator", None)]

    def states() -> list[bytes]:
        found = [torch.get_rng_state(), *[g.get_state() for g in generators if g is not None]]
        return [state.numpy().tobytes() for state in found]

    trace: Trace = []
    for _ in range(epochs):
        iterator = opener(loader)
        assert iterator is not None
        trace.append(("open", states()))
        while True:
            try:
                batch = next(iterator)
            except Exception as error:
                trace.append((type(error), states()))
                break
            trace.append((_facts(batch), states()))
    return trace


@pytest.fixture
def same_pass() -> Callable[..., None]:
    """Asserts that an opener's passes over a loader are the loader's own; `make` builds the loader anew."""

    def check(
        make: Callable[[], DataLoader[Any]], opener: Callable[[Any], Iterator[Any] | None], epochs: int = 2
    ) -> None:
        assert _trace(make, opener, epochs) == _trace(make, iter, epochs)

    return check
