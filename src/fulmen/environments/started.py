"""How many processes the program has started on this machine."""

from __future__ import annotations

import os

from fulmen.utilities.exceptions import MisconfiguredRun

# The variable that says so in all of them.
PROCESSES = "FULMEN_LOCAL_PROCESSES"


def check_count(processes: int) -> None:
    """Raises if a program has started another number of processes than a later run of it asks for.

    Args:
        processes: How many the run asks for, on this machine.

    Raises:
        MisconfiguredRun: If it has.
    """
    count = os.environ.get(PROCESSES, "")
    if count.isdigit() and int(count) != processes:
        raise MisconfiguredRun(
            "All runs of a program take place on the processes that were started for the first.",
            got=f"{processes} processes for each machine, and {count} have been started",
            fix=f"`Trainer(devices={count})`, `Trainer(devices=1)`, or another program for the other run.",
        )
