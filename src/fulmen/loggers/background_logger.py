"""What loggers have in common that write in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from fulmen.loggers.background import Background, OnFailure
from fulmen.loggers.logger import Logger, XAxis
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only
from fulmen.utilities.suggest import closest


class BackgroundLogger(Logger):
    """A logger that writes in the background of a run, by a `Background` that it has.

    While a Trainer runs, `log_metrics` and the like check what they are given, and queue the rest as
    ``self._background.submit(function, *args)``; outside of a run that is done at once. `save`, and whatever shows
    what was logged, wait for the queue; the Trainer does not call `save` after each row, but `_save_soon`.

    Args:
        on_failure: What happens when something cannot be written: ``"warn"`` for one warning, after which the logger is
            off for the rest of the run, or ``"raise"`` for an error in the training thread.
        drain_timeout: For how many seconds the end of a run waits for what is not written yet.
        x_axis: What the Trainer hands over as the step: ``"step"``, ``"epoch"``, ``"samples"`` or ``"time"``.
        retry_on: Says of an error whether the same call may succeed a little later.

    Raises:
        MisconfigurationException: If one of them has no meaning.
    """

    def __init__(
        self,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        x_axis: XAxis = "step",
        retry_on: Callable[[Exception], bool] | None = None,
    ) -> None:
        super().__init__()
        self.x_axis = checked_x_axis(x_axis)
        self._background = Background(
            type(self).__name__, on_failure=on_failure, drain_timeout=drain_timeout, retry_on=retry_on
        )

    def _flush(self) -> None:
        """Brings to the disk, or to the server, what is held back; called in the background."""

    def _end(self, status: str) -> None:
        """Does what is to be done at the end of a run, after all that was logged; called in the background.

        Args:
            status: How the run ended.
        """
        self._flush()

    @rank_zero_only
    def save(self) -> None:
        """Writes what was logged so far, and waits until it is written, for `drain_timeout` seconds at most."""
        self._background.submit(self._flush, records=0)
        self._in_order()

    @rank_zero_only
    def _save_soon(self) -> None:
        """Writes what was logged so far, without waiting for it, unless a class of the user's has its own `save`."""
        if type(self).save is not BackgroundLogger.save:
            self.save()
        elif self._holds_back():
            self._background.submit(self._flush, records=0)

    def _holds_back(self) -> bool:
        """Whether there is something to do for `_flush`, as far as is known where the logging is done."""
        return type(self)._flush is not BackgroundLogger._flush

    def _in_order(self) -> None:
        """Waits for what was logged before, so that one who looks sees it."""
        self._background.drain()
        self._background.report()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends a run: writes everything, for `drain_timeout` seconds at most, and says what is left.

        Args:
            status: How the run ended.

        Raises:
            LoggingFailedError: If something could not be written, and `on_failure` is ``"raise"``.
        """
        background = self._background
        if not background.has_failed:
            background.submit(self._end, status, records=0)
        background.finish(may_raise=status == "success")


def checked_x_axis(x_axis: Any) -> XAxis:
    """An x axis that there is.

    Args:
        x_axis: The name.

    Returns:
        The same.

    Raises:
        MisconfigurationException: If there is no such axis.
    """
    known = get_args(XAxis)
    if x_axis not in known:
        raise MisconfiguredValue(
            f"`x_axis` is one of {', '.join(map(repr, known))}.",
            got=x_axis,
            fix=f"`x_axis={closest(x_axis, known) or 'step'!r}`.",
        )
    return x_axis  # type: ignore[no-any-return]
