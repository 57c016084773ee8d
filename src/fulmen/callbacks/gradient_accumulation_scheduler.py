"""Changes the number of batches that gradients are accumulated over, from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import (
    MisconfigurationException,
    MisconfiguredRun,
    MisconfiguredType,
    MisconfiguredValue,
)

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """Sets the accumulation factor at the start of the epochs that a schedule names.

    Args:
        scheduling: For an epoch (counted from 0) the number of batches whose gradients make one optimizer step, from
            that epoch on. Before the first that is named, it is 1.

    Raises:
        MisconfigurationException: If the schedule is empty or holds something else than such numbers; or when training
            starts, if the factor is given to the Trainer too or optimization is manual.

    Example:
        >>> GradientAccumulationScheduler({4: 2, 8: 4}).get_accumulate_grad_batches(5)
        2
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        super().__init__()
        if not scheduling:
            raise MisconfiguredType(
                "`GradientAccumulationScheduler` needs a schedule.",
                got=scheduling,
                fix="Map epochs to factors: `{0: 8, 4: 4, 8: 1}`.",
            )
        _check("Each key is an epoch, an integer of 0 or more.", scheduling, minimum=0)
        _check("Each value is a number of batches, an integer of 1 or more.", scheduling.values(), minimum=1)
        self.scheduling = {**scheduling, 0: scheduling.get(0, 1)}
        self.epochs = sorted(self.scheduling)

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether more than one batch is ever accumulated."""
        return any(factor > 1 for factor in self.scheduling.values())

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """The factor in an epoch."""
        return self.scheduling[max(start for start in self.epochs if start <= epoch)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks that nothing else sets the factor, and sets it for an epoch that is under way already."""
        if not pl_module.automatic_optimization:
            raise MisconfiguredRun(
                "`GradientAccumulationScheduler` needs automatic optimization, and the module optimizes by hand.",
                fix="Remove the callback, and step the optimizer every few batches in `training_step`.",
            )
        if trainer.accumulate_grad_batches != 1:
            raise MisconfiguredValue(
                "The accumulation factor is set by `GradientAccumulationScheduler` or by the Trainer, not by both.",
                got=f"Trainer(accumulate_grad_batches={trainer.accumulate_grad_batches})",
                fix="Remove one of the two.",
            )
        if trainer.progress.batch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Sets the factor."""
        trainer.accumulate_grad_batches = self.get_accumulate_grad_batches(trainer.current_epoch)


def _check(rule: str, values: Any, minimum: int) -> None:
    wrong = [value for value in values if not isinstance(value, int) or isinstance(value, bool) or value < minimum]
    if wrong:
        raise MisconfigurationException(
            f"In the schedule of `GradientAccumulationScheduler`: {rule[0].lower()}{rule[1:]}",
            got=wrong,
            fix="Map epochs to factors: `{0: 8, 4: 4, 8: 1}`.",
        )
