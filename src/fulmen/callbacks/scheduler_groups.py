"""Parameter groups that join an optimizer whose schedulers were made without them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from fulmen.utilities.types import LRSchedulerConfig

_RATES = ("base_lrs", "max_lrs", "min_lrs")  # of a scheduler, one for each group
_COPIED = ("lr_lambdas", "base_momentums", "max_momentums")
_GROUP_RATES = ("initial_lr", "max_lr", "min_lr", "swa_lr")  # of a group, put there by its scheduler
_GROUP_COPIED = ("base_momentum", "max_momentum")


def include_groups(configs: Iterable[LRSchedulerConfig], optimizer: Optimizer, first: int) -> None:
    """Lets the schedulers of an optimizer go over groups that have joined it.

    The rate of a new group follows the schedule in proportion to that of the first group.

    Args:
        configs: The schedulers of a run.
        optimizer: The optimizer.
        first: The index of the first new group.
    """
    for config in configs:
        if getattr(config.scheduler, "optimizer", None) is optimizer:
            for group in optimizer.param_groups[first:]:
                _include(config.scheduler, optimizer.param_groups, group)


def _include(scheduler: Any, groups: list[dict[str, Any]], group: dict[str, Any]) -> None:
    leader = groups[0]
    ratio = float(group["lr"]) / float(leader["lr"]) if leader["lr"] else 1.0
    for name in _GROUP_RATES:
        if name in leader:
            group.setdefault(name, leader[name] * ratio)
    for name in _GROUP_COPIED:
        if name in leader:
            group.setdefault(name, leader[name])
    _extend(scheduler, len(groups), ratio)


def _extend(scheduler: Any, count: int, ratio: float) -> None:
    for name in (*_RATES, *_COPIED):
        values = getattr(scheduler, name, None)
        if isinstance(values, list) and 0 < len(values) < count:
            values.append(values[0] * ratio if name in _RATES else values[0])
    for part in getattr(scheduler, "_schedulers", ()):
        _extend(part, count, ratio)
