"""Says once for each old feature how it is written today."""

from __future__ import annotations

from fulmen.utilities.rank_zero import warn_once


class FormerInterfaceWarning(FutureWarning):
    """What was used is of Lightning 1.x: it works as it did, and is written differently today."""


def hint(feature: str, today: str) -> None:
    """Says once in a process what to write in place of something of Lightning 1.x.

    Args:
        feature: What was used, as the user wrote it.
        today: What to write.
    """
    warn_once(f"{feature} is of Lightning 1.x; it works as it did then. Today: {today}", FormerInterfaceWarning)
