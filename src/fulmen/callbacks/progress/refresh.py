"""When a progress bar may be drawn, and where to."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

INTERVAL = 0.1  # seconds between drawings

# What a drawing leaves of the budget for more important ones, in drawings.
WITHIN = 12  # in the midst of an epoch
TURN = 4  # where something new begins
END = 0  # the last batch of an epoch


class RefreshClock:
    """A budget of drawings: so many a second over any time, and a few at once.

    The few at once are for the turns of a run (an epoch's last batch, the begin of validation), which should be seen
    even if the bar was drawn a moment ago. A drawing in the midst of an epoch leaves them that reserve. Epochs so
    short that their turns alone are more than the budget are shown now and then.

    Args:
        interval: Seconds between drawings in the midst of an epoch.
        per_second: How many drawings a second the budget grows by.
        size: The most that the budget holds, in drawings.

    Attributes:
        due: The value of ``time.monotonic()`` from which on a drawing in the midst of an epoch is due. Reading it is
            all that a batch pays.
    """

    def __init__(self, interval: float = INTERVAL, per_second: float = 10.0, size: float = 20.0) -> None:
        self.interval = interval
        self.per_second = per_second
        self.size = size
        self.due = monotonic() + interval
        self._budget = size
        self._then = monotonic()

    def allows(self, keep: int) -> bool:
        """Whether to draw now; if so, the drawing is booked.

        Args:
            keep: How many drawings must be left for others: `WITHIN`, `TURN` or `END`.
        """
        now = monotonic()
        self._budget = min(self.size, self._budget + (now - self._then) * self.per_second)
        self._then = now
        self.due = now + self.interval
        if self._budget < keep + 1:
            return False
        self._budget -= 1
        return True


def line_clock() -> RefreshClock:
    """The clock for where every drawing stays as a line: the ends of epochs, and long epochs every half minute."""
    return RefreshClock(interval=30.0, per_second=1.0, size=20.0)


def in_notebook() -> bool:
    """Whether this runs in a notebook: Jupyter, Colab, Kaggle, VS Code. Imports nothing to find out."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", ())


def redraws(stream: Any) -> bool:
    """Whether a line written to a stream can be overwritten: a terminal or a notebook, not a file or a pipe."""
    isatty = getattr(stream, "isatty", None)
    return in_notebook() or (callable(isatty) and bool(isatty()))
