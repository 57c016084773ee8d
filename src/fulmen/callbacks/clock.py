"""What is due by the clock, where several processes have clocks of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def is_time(trainer: Trainer, what: str, is_over: Callable[[], bool]) -> bool:
    """Whether something is due by the clock of rank 0. To be asked by all processes after the same step.

    Args:
        trainer: The Trainer.
        what: What it is, by a name that is the same on all processes.
        is_over: Whether this process's clock says so.
    """
    if trainer.world_size == 1:
        return is_over()
    if getattr(trainer.strategy, "peers", None) is None:
        return bool(trainer.strategy.broadcast(is_over()))
    return trainer.signals.is_time(trainer, what, is_over)
