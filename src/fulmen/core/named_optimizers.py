"""Optimizers with names, for steps that compute a loss for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

_OF_ONE = {"optimizer", "lr_scheduler", "monitor"}


def named_optimizers(returned: Any) -> dict[str, Any] | None:
    """What ``configure_optimizers`` returned, where it names its optimizers.

    Args:
        returned: Anything.

    Returns:
        By name an optimizer, or the dict of one with its scheduler. None where it has another shape: the keys of the
        dict of one optimizer are no names.
    """
    # A single key is more likely a misspelt "optimizer", and one loss needs no name.
    if not isinstance(returned, Mapping) or len(returned) < 2 or set(returned) <= _OF_ONE:
        return None
    if not all(isinstance(name, str) and _has_optimizer(value) for name, value in returned.items()):
        return None
    return dict(returned)


def _has_optimizer(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = value.get("optimizer")
    return isinstance(value, Optimizer)


def has_scheduler(returned: Any) -> bool:
    """Whether what stands by the name of an optimizer brings a scheduler."""
    return isinstance(returned, Mapping) and returned.get("lr_scheduler") is not None
