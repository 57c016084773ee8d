"""A process that another one has started for a run does not outlive it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

VARIABLE = "FULMEN_PARENT_PID"
# How often a process looks, and how long it may go on without its parent: those who watch over the run say first
# what has happened.
_EVERY = 0.5
_GRACE = 6.0


def heed() -> None:
    """Follows the process that the environment names, if it is this one's parent.

    The variable is taken away, so that what this process starts in turn does not follow a stranger.
    """
    given = os.environ.pop(VARIABLE, "")
    if not given.isdigit():
        return
    pid = int(given)
    if os.getppid() == pid:
        follow(lambda: os.getppid() != pid)
    elif not is_running(pid):  # it ended while this one was on its way here
        _end(0.0)


def follow(gone: Callable[[], bool], grace: float = _GRACE) -> None:
    """Ends this process when another is gone.

    Args:
        gone: Whether it is; asked in a thread.
        grace: How many seconds later this one ends.
    """

    def watch() -> None:
        while not gone():
            time.sleep(_EVERY)
        _end(grace)

    threading.Thread(target=watch, name="fulmen-parent", daemon=True).start()


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended is none, even if nobody has taken note of it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:  # it has just ended, or this system has no such files
        return not os.path.isdir("/proc/self")


def _end(grace: float) -> None:
    time.sleep(grace)
    try:
        sys.stdout.flush()
        print("The process that started this one is gone, so this one ends as well.", file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody reads any more
        pass
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    os._exit(1)
