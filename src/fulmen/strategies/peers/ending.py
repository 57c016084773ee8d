"""The end of a process whose main thread does not come back."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fulmen.strategies.peers import liveness
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.faults import Fault, PeerFailed
from fulmen.strategies.peers.neighbours import Neighbours
from fulmen.strategies.peers.wire import NoAnswer, StoreLost

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# For how many seconds a main thread may stay away after a fault, and how long one that came back may take to end.
_AWAY = 3.0
_ENDING = 9.0
# How much later whoever prints the whole text ends, so that it comes last.
LAST = 0.5
# A thread that sits in a write holds the lock of the stream, so output is given up after as many seconds.
_OUTPUT = 1.0
# The kinds of faults that a rank is accused of by others.
_SILENT = ("stalled", "lost")


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


def record_error(error: BaseException) -> None:
    """Has torchrun's own report show an error of this rank, if torchrun has started it and knows of none yet.

    Args:
        error: The error.
    """
    path = _file_of_torchrun()
    if path is None or path.exists():
        return
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    handler = get_error_handler()
    if sys.exc_info()[1] is error:
        handler.record_exception(error)
    else:
        try:
            raise error  # what is recorded is what is being handled
        except BaseException:
            handler.record_exception(error)
    _date_back(path)


def withdraw_error() -> None:
    """Takes back what was recorded: another rank's error was the first."""
    path = _file_of_torchrun()
    if path is not None:
        path.unlink(missing_ok=True)


def _file_of_torchrun() -> Path | None:
    file = os.environ.get("TORCHELASTIC_ERROR_FILE") if "TORCHELASTIC_RUN_ID" in os.environ else None
    return Path(file) if file else None


def _date_back(path: Path) -> None:
    """Makes an error older by a second: torchrun shows the oldest, counts in whole ones, and others may end first."""
    try:
        told = json.loads(path.read_text())
        more = told["message"]["extraInfo"]
        more["timestamp"] = str(int(more["timestamp"]) - 1)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(path)
    except (OSError, ValueError, TypeError, KeyError):
        pass  # a handler of the user's own records in its own way


def leave_word(fault: Fault) -> None:
    """Tells the process that has started this one for a run what has ended it, if it has said where.

    Args:
        fault: The failure that has ended the group.
    """
    folder = os.environ.get("FULMEN_LAUNCH_FOLDER")
    if folder:
        try:
            with open(os.path.join(folder, "fault"), "x", encoding="utf-8") as file:
                json.dump(fault.as_dict(), file)
        except OSError:  # another rank has done it, or nobody waits for it
            pass


class Ending:
    """Ends this process after a fault, unless its main thread does.

    Args:
        peers: Whose main thread it is.
        neighbours: The other processes.

    Attributes:
        called_off: Whether the main thread has come to an end of its own.
    """

    def __init__(self, peers: Peers, neighbours: Neighbours) -> None:
        self.called_off = False
        self._peers = peers
        self._neighbours = neighbours
        self._since = 0.0

    def begin(self, fault: Fault) -> None:
        """From now on, time is counted.

        Args:
            fault: What has ended the group. If this rank is accused of giving no answer, torchrun's report has that
                before the others hear that this one knows: any of them may be the first to end.
        """
        self._since = time.monotonic()
        if fault.rank == self._peers.rank and fault.kind in _SILENT:
            record_error(PeerFailed(fault, self._peers.world_size))

    def end_if_due(self, board: Board | None) -> None:
        """Ends the process if it is time.

        Args:
            board: Where the ranks meet; None if the store is lost.
        """
        peers, fault = self._peers, self._peers.culprit
        seconds = time.monotonic() - self._since
        limit = _ENDING if peers.back else _AWAY
        if fault is None or seconds < limit or self.called_off:
            return
        try:
            tells = self._tells(fault, board)
        except (NoAnswer, StoreLost):
            board, tells = None, self._tells(fault, None)
        if tells and seconds < limit + LAST:
            return
        failed = PeerFailed(fault, peers.world_size)
        silent = fault.kind in _SILENT
        if not self._has_heard(fault.rank, board) if silent else fault.rank == peers.rank:  # who cannot say it
            record_error(failed)
        self._kill_the_deaf(board)
        who = f"rank {fault.rank}" if fault.rank >= 0 else "the group" if fault.kind == "stalled" else "the store"
        short = (
            f"Rank {peers.rank} of {peers.world_size} ends because {'it' if fault.rank == peers.rank else who} failed."
        )
        if not self.called_off:
            end(143 if peers.wish_from_signal == "signal:15" else 1, str(failed) if tells else short)

    def kill_the_silent(self, board: Board | None) -> None:
        """Kills the culprit if it was accused of giving no answer, and has not heard of that either.

        Args:
            board: As above.
        """
        fault = self._peers.culprit
        other = None if fault is None else self._neighbours.here().get(fault.rank)
        if fault is None or other is None or fault.kind not in _SILENT:
            return
        if not self._has_heard(fault.rank, board):
            liveness.kill(other)

    def _has_heard(self, rank: int, board: Board | None) -> bool:
        """Whether a rank has heard of the fault."""
        try:
            return board is not None and board.notes("seen", [rank]) is not None
        except (NoAnswer, StoreLost):
            return False  # it may be the one that holds the store

    def _tells(self, fault: Fault, board: Board | None) -> bool:
        """Whether it is this rank that prints the whole text: the first that knows it, but for the culprit."""
        before = [rank for rank in self._neighbours.present if rank < self._peers.rank and rank != fault.rank]
        if board is not None:
            know = any(board.notes("seen", [rank]) for rank in before)
        else:
            know = not (self._neighbours.here().keys() - self._neighbours.dead()).isdisjoint(before)
        return self._peers.rank != fault.rank and not know

    def _kill_the_deaf(self, board: Board | None) -> None:
        """Ends processes of this host that cannot end themselves: stopped, or in code that keeps the GIL."""
        self.kill_the_silent(board)
        try:
            for rank, other in self._neighbours.here().items() if board is not None else ():
                if board is not None and board.notes("seen", [rank]) is None:
                    liveness.kill(other)
        except (NoAnswer, StoreLost):
            pass
