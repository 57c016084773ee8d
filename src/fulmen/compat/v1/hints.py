"""Says once for each old feature how it is written today."""

from __future__ import annotations

import sys

from fulmen.utilities.rank_zero import warn_once


class FormerInterfaceWarning(FutureWarning):
    """What was used is of Lightning 1.x: it works as it did, and is written differently today."""


def hint(feature: str, today: str) -> None:
    """Says once in a process what to write in place of something of Lightning 1.x.

    Args:
        feature: What was used, as the user wrote it.
        today: What to write.
    """
    text = f"{feature} is of Lightning 1.x; it works as it did then. Today: {today.rstrip('.')}."
    warn_once(text, FormerInterfaceWarning, stacklevel=3 + _frames_of_ours())


def _frames_of_ours() -> int:
    """How many frames up the user's line is, seen from who gives the hint."""
    frame, count = sys._getframe(2), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fulmen."):
        frame, count = frame.f_back, count + 1
    return count
