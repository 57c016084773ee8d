"""Reads what ``configure_optimizers`` returned, in any of its shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from fulmen.core.named_optimizers import named_optimizers
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.types import LRSchedulerConfig

_SHAPES = (
    "Return an optimizer, a list of optimizers, `[optimizers], [schedulers]`, "
    '`{"optimizer": optimizer, "lr_scheduler": scheduler}`, or several of these by name: `{"generator": ..., ...}`.'
)
_KEYS = {"scheduler", "name", "interval", "frequency", "reduce_on_plateau", "monitor", "strict"}


class NoOptimizer(Optimizer):
    """Stands in where ``configure_optimizers`` returned None: steps nothing."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def step(self, closure: Any = None) -> Any:
        """Runs the closure, if there is one."""
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes nothing back."""

    def __repr__(self) -> str:
        return "NoOptimizer"


def read_optimizers(returned: Any, manual: bool = False) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """Optimizers and schedulers of what ``configure_optimizers`` returned.

    Args:
        returned: One of the shapes that ``LightningModule.configure_optimizers`` lists.
        manual: Whether the module steps its schedulers itself, so that none needs to know its metric.

    Returns:
        The optimizers, and how each scheduler is stepped.

    Raises:
        MisconfigurationException: If it has none of these shapes.
    """
    if returned is None:
        rank_zero_warn("`configure_optimizers` returned None, so this fit will not change any weights.")
        return [NoOptimizer()], []
    optimizers, schedulers, monitor = _split(returned)
    configs = [_read_scheduler(scheduler, monitor, manual) for scheduler in schedulers]
    for config in configs:
        attached = getattr(config.scheduler, "optimizer", None)
        if attached is not None and not any(attached is optimizer for optimizer in optimizers):
            raise MisconfigurationException(
                "Every scheduler must belong to an optimizer that `configure_optimizers` returns.",
                got=f"{type(config.scheduler).__name__} of another {type(attached).__name__}",
                fix="Return the optimizer that the scheduler was made with.",
            )
    return optimizers, configs


def _split(returned: Any) -> tuple[list[Optimizer], list[Any], str | None]:
    if isinstance(returned, Optimizer):
        return [returned], [], None
    if (named := named_optimizers(returned)) is not None:
        _check_owners(named)
        return _from_dicts([{"optimizer": one} if isinstance(one, Optimizer) else one for one in named.values()])
    if isinstance(returned, Mapping):
        return _from_dicts([returned])
    if isinstance(returned, Sequence) and not isinstance(returned, str) and returned:
        if all(isinstance(item, Optimizer) for item in returned):
            return list(returned), [], None
        if all(isinstance(item, Mapping) for item in returned):
            return _from_dicts(list(returned))
        if len(returned) == 2 and isinstance(returned[0], Sequence) and returned[1] is not None:
            optimizers, schedulers = returned
            if optimizers and all(isinstance(item, Optimizer) for item in optimizers):
                return list(optimizers), list(schedulers) if isinstance(schedulers, Sequence) else [schedulers], None
    raise MisconfigurationException(
        "`configure_optimizers` returned something that holds no optimizer in a known place.",
        got=_shape(returned),
        fix=_SHAPES,
    )


def _shape(returned: Any) -> str:
    if isinstance(returned, type):
        return f"the class {returned.__name__}"
    if isinstance(returned, Mapping):
        return f"a dict with the keys {list(returned)}"
    if isinstance(returned, Sequence) and not isinstance(returned, str):
        return f"{type(returned).__name__} of {[type(item).__name__ for item in returned]}"
    return f"{type(returned).__name__}"


def _from_dicts(dicts: list[Mapping[str, Any]]) -> tuple[list[Optimizer], list[Any], str | None]:
    optimizers, schedulers = [], []
    for config in dicts:
        if not isinstance(config.get("optimizer"), Optimizer):
            raise MisconfigurationException(
                'A dict from `configure_optimizers` needs the key "optimizer" with an optimizer; names begin with two '
                "optimizers.",
                got=_shape(config),
                fix='`return {"optimizer": optimizer, "lr_scheduler": scheduler}` for one, which needs no name, or '
                '`{"generator": ..., "critic": ...}` for several.',
            )
        unknown = set(config) - {"optimizer", "lr_scheduler", "monitor"}
        if unknown:
            rank_zero_warn(
                f'`configure_optimizers` returned keys that mean nothing: {sorted(unknown)}. Known are "optimizer", '
                '"lr_scheduler" and "monitor".'
            )
        optimizers.append(config["optimizer"])
        scheduler = config.get("lr_scheduler")
        if scheduler is not None:
            schedulers.append(_with_monitor(scheduler, config.get("monitor")))
    return optimizers, schedulers, None


def _check_owners(named: dict[str, Any]) -> None:
    """Raises if by the name of an optimizer stands the scheduler of another."""
    owners = {name: one if isinstance(one, Optimizer) else one["optimizer"] for name, one in named.items()}
    for name, one in named.items():
        scheduler = one.get("lr_scheduler") if isinstance(one, Mapping) else None
        if isinstance(scheduler, Mapping):
            scheduler = scheduler.get("scheduler")
        attached = getattr(scheduler, "optimizer", None)
        other = next((key for key, owner in owners.items() if owner is attached), None)
        if other is not None and owners[name] is not attached:
            raise MisconfigurationException(
                "A scheduler stands by the name of its own optimizer, since it steps when that one does.",
                got=f"under {name!r} a {type(scheduler).__name__} of the optimizer {other!r}",
                fix=f"Return it under {other!r}, or make it with the optimizer {name!r}.",
            )


def _with_monitor(scheduler: Any, monitor: str | None) -> Any:
    if monitor is None:
        return scheduler
    return {"monitor": monitor, **scheduler} if isinstance(scheduler, Mapping) else {
        "scheduler": scheduler, "monitor": monitor,
    }  # fmt: skip


def _read_scheduler(scheduler: Any, monitor: str | None, manual: bool) -> LRSchedulerConfig:
    config: dict[str, Any] = dict(scheduler) if isinstance(scheduler, Mapping) else {"scheduler": scheduler}
    _check_keys(config)
    known = {key: value for key, value in config.items() if key in _KEYS}
    known.setdefault("reduce_on_plateau", isinstance(config["scheduler"], ReduceLROnPlateau))
    if isinstance(scheduler, Mapping) and isinstance(config["scheduler"], ReduceLROnPlateau):
        known["reduce_on_plateau"] = True
    known.setdefault("monitor", monitor)
    if known["reduce_on_plateau"]:
        if not known["monitor"] and not manual:
            raise MisconfigurationException(
                "`ReduceLROnPlateau` needs to know which metric to look at.",
                got="a scheduler without `monitor`",
                fix='`{"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}`.',
            )
    elif known["monitor"] is not None:
        rank_zero_warn(
            f"The scheduler {type(config['scheduler']).__name__} takes no metric, so its `monitor` has no effect."
        )
        known["monitor"] = None
    return LRSchedulerConfig(**known)


def _check_keys(config: dict[str, Any]) -> None:
    scheduler = config.get("scheduler")
    if scheduler is None:
        raise MisconfigurationException(
            'A scheduler\'s dict needs the key "scheduler".', got=_shape(config), fix='`{"scheduler": scheduler, ...}`.'
        )
    if isinstance(scheduler, type) or not (
        isinstance(scheduler, LRScheduler) or callable(getattr(scheduler, "step", None))
    ):
        raise MisconfigurationException(
            "A learning rate scheduler has a method `step`.",
            got=_shape(scheduler),
            fix="Return the scheduler object, e.g. `torch.optim.lr_scheduler.StepLR(optimizer, 10)`.",
        )
    unknown = set(config) - _KEYS
    if unknown:
        rank_zero_warn(f"Keys of a scheduler's dict that mean nothing: {sorted(unknown)}. Known are {sorted(_KEYS)}.")
    interval = config.get("interval", "epoch")
    if interval not in ("epoch", "step"):
        raise MisconfigurationException(
            'The "interval" of a scheduler is "epoch" or "step".',
            got=interval,
            fix='Use "step" to step after each optimizer step, "epoch" to step after each epoch.',
        )
    frequency = config.get("frequency", 1)
    if not isinstance(frequency, int) or frequency < 1:
        raise MisconfigurationException(
            'The "frequency" of a scheduler is an int from 1 up.', got=frequency, fix='Leave "frequency" out for 1.'
        )
