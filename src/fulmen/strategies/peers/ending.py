"""The end of a process whose main thread does not come back."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from typing import NoReturn

from fulmen.strategies.peers.faults import Fault, PeerFailed

# A thread that sits in a write holds the lock of the stream, so output is given up after as many seconds.
_OUTPUT = 1.0


def say(text: str) -> None:
    """Writes to the errors' stream, after all that was printed before.

    Args:
        text: Whole lines.
    """

    def write() -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # it may be closed, or anything that a user has put there
                pass
        try:
            sys.stderr.write(text.rstrip() + "\n")
            sys.stderr.flush()
        except Exception:
            pass

    thread = threading.Thread(target=write, name="fulmen-peers-output", daemon=True)
    thread.start()
    thread.join(_OUTPUT)


def end(code: int, text: str) -> NoReturn:
    """Ends the process at once, and its data workers with it.

    Args:
        code: The exit code.
        text: What is printed last.
    """
    say(text)
    for child in multiprocessing.active_children():
        if child.daemon:  # as the end of the interpreter would
            child.kill()
    os._exit(code)


def record(fault: Fault, world_size: int) -> None:
    """Has torchrun's own report name this rank's failure, if torchrun has started it.

    Args:
        fault: The failure of this rank.
        world_size: How many ranks there are.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and "TORCHELASTIC_ERROR_FILE" in os.environ:
        record_error(PeerFailed(fault, world_size))


def record_error(error: BaseException) -> None:
    """Has torchrun's own report show an error of this rank, if torchrun has started it.

    Args:
        error: The error.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)
