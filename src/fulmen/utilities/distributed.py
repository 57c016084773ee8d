"""What several processes have in common."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from typing import Any

from fulmen.utilities.whole_files import is_remote


def is_shared_filesystem(strategy: Any, path: str | os.PathLike[str] | None = None, timeout: int = 3) -> bool:
    """Whether all processes see the same files. All of them have to ask.

    The first process writes a small file into the folder, for which the others look.

    Args:
        strategy: How the processes agree.
        path: A folder, or a file in it; None for the working directory.
        timeout: How many seconds the file may take to get to the others.

    Returns:
        True for one process, and for addresses such as ``s3://bucket``, too.

    Raises:
        FileNotFoundError: If a process does not have the path at all.
    """
    given = os.getcwd() if path is None else os.fspath(path)
    if is_remote(given) or strategy.world_size == 1:
        return True
    here = os.path.abspath(given)
    if not strategy.reduce_boolean_decision(os.path.exists(here), all=True):
        raise FileNotFoundError(
            f"Whether a path is shared can be found out only where each process has it, and some lack {here!r}.\n"
            "What to do: make the folder on each machine, or pass the path of one that is there."
        )
    if not strategy.reduce_boolean_decision(strategy.broadcast(here) == here, all=True):
        return False  # relative to different folders
    folder = here if os.path.isdir(here) else os.path.dirname(here)
    name = os.path.join(folder, f".fulmen_shared_{strategy.broadcast(uuid.uuid4().hex)}")
    try:
        if strategy.is_global_zero:
            with open(name, "w"):
                pass
        strategy.barrier("the file is written")
        seen = _appears(name, timeout)
        return bool(strategy.reduce_boolean_decision(seen, all=True))
    finally:
        if strategy.is_global_zero:
            with suppress(FileNotFoundError):
                os.remove(name)


def _appears(path: str, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
