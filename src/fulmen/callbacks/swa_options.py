"""What `StochasticWeightAveraging` accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from fulmen.callbacks.averaging_options import check_device
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def check(lrs: Any, start: Any, epochs: Any, strategy: Any, avg_fn: Any, device: Any) -> None:
    """Checks the arguments of the callback.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    rates = lrs if isinstance(lrs, list) else [lrs]
    if not rates or not all(isinstance(rate, float) and rate > 0 for rate in rates):
        raise MisconfigurationException(
            "`swa_lrs` is a learning rate above 0, or one for each parameter group.",
            got=lrs,
            fix="Pass `swa_lrs=0.01`, or a list of such floats.",
        )
    whole = isinstance(start, int) and not isinstance(start, bool) and start >= 1
    if not whole and not (isinstance(start, float) and 0 <= start <= 1):
        raise MisconfigurationException(
            "`swa_epoch_start` is an epoch, counted from 1, or what part of `max_epochs` comes before it.",
            got=start,
            fix="Pass an int from 1 up, or a float from 0 to 1: `swa_epoch_start=0.8`.",
        )
    if not isinstance(epochs, int) or epochs < 0:
        raise MisconfigurationException(
            "`annealing_epochs` is a number of epochs, from 0 up.", got=epochs, fix="Pass `annealing_epochs=10`."
        )
    if strategy not in ("cos", "linear"):
        raise MisconfigurationException(
            "`annealing_strategy` says how the learning rate goes to `swa_lrs`.",
            got=strategy,
            fix='Pass `annealing_strategy="cos"` or `"linear"`.',
        )
    if avg_fn is not None and not callable(avg_fn):
        raise MisconfigurationException(
            "`avg_fn` is a function of the average, the weight and the number of weights in the average.",
            got=avg_fn,
            fix="Pass such a function, or None for the mean.",
        )
    check_device(device, number=False)


def check_run(start: int | float, max_epochs: int | None, trainer: Trainer) -> None:
    """Checks that a run can be averaged.

    Raises:
        MisconfigurationException: If it has several optimizers or schedulers, or no end that is needed.
    """
    for count, what in ((len(trainer.optimizers), "optimizer"), (len(trainer.lr_scheduler_configs), "scheduler")):
        if count > 1 or (count == 0 and what == "optimizer"):
            raise MisconfigurationException(
                f"`StochasticWeightAveraging` sets the learning rate of one {what}.",
                got=f"{count} {what}s from `configure_optimizers`",
                fix=f"Return one {what}, or average with `WeightAveraging`, which leaves learning rates alone.",
            )
    if isinstance(start, float) and max_epochs in (None, -1):
        raise MisconfigurationException(
            "A `swa_epoch_start` that is a part of `max_epochs` needs to know `max_epochs`.",
            got=f"swa_epoch_start={start} and max_epochs={max_epochs}",
            fix="Pass `Trainer(max_epochs=...)`, or the epoch as an int: `swa_epoch_start=10`.",
        )


def known_end(max_epochs: int | None) -> int:
    """The number of epochs of the run.

    Raises:
        MisconfigurationException: If it is not known yet.
    """
    if max_epochs is None:
        raise MisconfigurationException(
            "When averaging starts and ends is known when `fit` has started.",
            fix="Ask for `swa_start` and `swa_end` in a hook, or after `fit`.",
        )
    return max_epochs


def rates_of(lrs: float | list[float], optimizer: Optimizer) -> list[float]:
    """The learning rate of each parameter group.

    Raises:
        MisconfiguredValue: If there are more or fewer of them.
    """
    count = len(optimizer.param_groups)
    rates = lrs if isinstance(lrs, list) else [lrs] * count
    if len(rates) != count:
        raise MisconfiguredValue(
            "`swa_lrs` has one learning rate for each parameter group.",
            got=f"{len(rates)} of them, and {count} groups",
            fix="Pass as many, or one float for all groups.",
        )
    return rates
