"""What callbacks that watch a metric have in common: comparing values, and naming what they watch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, cast

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Mode = Literal["min", "max"]


def check_mode(owner: str, mode: str) -> Mode:
    """Checks the direction in which a metric improves.

    Args:
        owner: The callback, for the error text.
        mode: ``"min"`` or ``"max"``.

    Returns:
        The mode.

    Raises:
        MisconfigurationException: If it is neither.
    """
    if mode not in ("min", "max"):
        raise MisconfigurationException(
            f"`{owner}(mode=...)` says which way the metric improves.",
            got=mode,
            fix='Pass mode="min" for a loss, mode="max" for an accuracy.',
        )
    return cast(Mode, mode)


def advice_for_missing(name: str, available: Iterable[str]) -> str:
    """What to do about a metric that was not logged.

    Args:
        name: The metric that is missing.
        available: The metrics that are there.

    Returns:
        A sentence that names the most similar metric, where one is similar.
    """
    import difflib

    close = difflib.get_close_matches(name, list(available), n=1)
    meant = f"Did you mean {close[0]!r}? Otherwise log" if close else "Log"
    return f"{meant} it with `self.log({name!r}, value)`, or name a metric that is logged."


def show(names: Iterable[str]) -> str:
    """A list of metrics, for an error text."""
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def warn_of_nothing_saved(trainer: Trainer, monitor: str) -> None:
    """Says why a checkpoint callback has saved nothing.

    Args:
        trainer: The Trainer, at the end of training.
        monitor: The metric that a save waited for to the end.
    """
    metrics, why = trainer.callback_metrics, "the metric was never logged"
    advice = advice_for_missing(monitor, metrics)
    if monitor in metrics:
        step = trainer.metric_step(monitor)
        why = f"all values of the metric were made before the save was due, the last at step {step}"
        advice = (
            "Validate more often, or save earlier; `save_last=True` keeps the newest weights whatever their metric."
        )
    rank_zero_warn(f"`ModelCheckpoint(monitor={monitor!r})` saved nothing: {why}. {advice}")
