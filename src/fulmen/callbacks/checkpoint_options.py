"""What a ``ModelCheckpoint`` can be asked for, and what makes no sense."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.interval import Interval


def read_triggers(steps: int | None, epochs: int | None, period: timedelta | None) -> tuple[int, int, timedelta | None]:
    """What triggers saves.

    Args:
        steps: Every so many optimizer steps.
        epochs: Every so many epochs.
        period: Every so long.

    Returns:
        The three, with 0 or None for what does not; each epoch where nothing is given.

    Raises:
        MisconfigurationException: If a count is none, or several are given.
    """
    for name, count in (("every_n_train_steps", steps), ("every_n_epochs", epochs)):
        if count is not None and (not isinstance(count, int) or count < 0):
            raise MisconfigurationException(
                f"`ModelCheckpoint({name}=...)` is how often to save.",
                got=count,
                fix="Pass 1 or more, or 0 for never.",
            )
    if bool(steps) + bool(epochs) + (period is not None) > 1:
        raise MisconfigurationException(
            "`ModelCheckpoint` has one trigger.",
            got=f"every_n_train_steps={steps}, every_n_epochs={epochs}, train_time_interval={period}",
            fix="Keep one of them, and use a second `ModelCheckpoint` for another.",
        )
    if steps is None and epochs is None and period is None:
        epochs = 1
    if period is not None:
        seconds = Interval.duration(period, "ModelCheckpoint(train_time_interval)").seconds
        assert seconds is not None
        period = timedelta(seconds=seconds)
    return steps or 0, epochs or 0, period


def check_what_to_keep(save_top_k: Any, monitor: str | None, save_last: Any) -> None:
    """Raises unless it is clear which files are to be kept.

    Args:
        save_top_k: How many of the best.
        monitor: The metric that ranks them.
        save_last: Whether the last one too.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    if not isinstance(save_top_k, int) or save_top_k < -1:
        raise MisconfigurationException(
            "`ModelCheckpoint(save_top_k=...)` is the number of checkpoints to keep.",
            got=save_top_k,
            fix="Pass 1 or more, 0 for none, or -1 for all.",
        )
    if monitor is None and save_top_k not in (-1, 0, 1):
        raise MisconfigurationException(
            "`ModelCheckpoint` needs a metric to tell which checkpoints are the best.",
            got=f"save_top_k={save_top_k} without `monitor`",
            fix='Name one, `monitor="val_loss"`, or keep the newest (1), all (-1) or none (0).',
        )
    if save_last not in (None, True, False, "link"):
        raise MisconfigurationException(
            "`ModelCheckpoint(save_last=...)` says whether the newest weights are kept as well.",
            got=save_last,
            fix='Pass True for a file, "link" for a link to the newest checkpoint, or False.',
        )
