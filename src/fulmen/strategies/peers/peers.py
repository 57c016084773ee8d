"""The other processes of a run, as one of them sees them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fulmen.strategies.peers import ending
from fulmen.strategies.peers.agreement import END, Agreement, Position
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.faults import (
    Fault,
    PeerFailed,
    add_note,
    fault_of,
    is_of_a_broken_connection,
    is_the_same,
)
from fulmen.strategies.peers.liveness import Identity, this_process
from fulmen.strategies.peers.questions import Question
from fulmen.strategies.peers.roll_call import RollCall
from fulmen.strategies.peers.watchdog import Watchdog
from fulmen.utilities.exceptions import SIGTERMException

# For how many seconds a rank that has failed tries to tell it, and waits until the others have heard of it.
_TOLD = 6.0
_HEARD = 2.0
# For how many seconds a rank whose connection broke waits to hear who it was.
_WHO = 3.0
# How often to ask whether all end, in seconds.
_SOON = 0.05
# Within how many seconds whoever is well answers.
ANSWER = 5.0


class Peers:
    """Who of a group is alive, who has failed, and where all stop.

    A thread looks after it, so that nothing depends on a main thread that may sit in a collective. The main thread
    calls `gate` where it could stop, and learns there if the run ends.

    Args:
        store: A store of torch (`TCPStore`) that all ranks share, with a prefix of its own for each run.
        rank: This rank.
        world_size: How many ranks there are.
        report_after: After how many seconds in which no rank makes progress to print where all are; 0 for never.
        end_after: After how many such seconds to end the group; 0 for never.
        owns_store: Whether the store lives in this process, so that it is lost with it.
        members: Which process each rank is, where they know that already; None to let them tell each other.

    Attributes:
        passed: The position of the last gate.
        frozen: Whether the next gate has to stop and think.
        culprit: The failure that has ended the group; None while all is well.
        wish_from_signal: Set by the handler of a signal: what all shall stop for.
        signals: What the thread sets that to, by signals that come while the main thread runs no Python code. Only
            those for which a handler in Python is in place count.
        marked: Whether there was progress since the thread has last looked.
        where: In what the main thread waits for others.
        patient: In how many such waits it is that may take as long as they want.
        places: How many places it has passed that all ranks come to, in the same order.
        exits: Whether the main thread ends the process without complaint.
        run: The method of the Trainer that runs, as ``"validate"``.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        *,
        report_after: float = 60.0,
        end_after: float = 300.0,
        owns_store: bool = False,
        members: Mapping[int, Identity] | None = None,
    ) -> None:
        self.passed: Position = ()
        self.frozen = False
        self.culprit: Fault | None = None
        self.wish_from_signal = ""
        self.signals: dict[int, str] = {int(signal.SIGTERM): "signal:15"}
        self.marked = False
        self.where = ""
        self.patient = 0
        self.places = 0
        self.exits = False
        self.run = ""
        self.rank = rank
        self.world_size = world_size
        self.report_after = report_after
        self.end_after = end_after
        self.main_thread = threading.get_ident()
        # Guards what both threads change. Nobody waits for the store while they hold it.
        self.changed = threading.Condition()
        self.agreement = Agreement()
        self.wish = ""
        self.back = False  # whether the main thread knows of the fault
        self._pid = os.getpid()
        self._closed = False
        known = dict(members or {})
        own = known.pop(rank, None) or this_process(owns_store)
        self._store = store
        self._roll_call: RollCall | None = None
        self._watchdog = Watchdog(self, Board(store, rank), own, known)

    def start(self) -> None:
        """Starts to look after the group."""
        self.main_thread = threading.get_ident()
        self._watchdog.start()

    def close(self) -> None:
        """Ends this rank's part in order. Others need not have come so far; they will not miss it."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        with self.changed:
            self.back = True
            self.passed = END
        self._watchdog.close()
        self.frozen = False

    def gate(self, position: Position, wish: str = "") -> str:
        """A place where this rank could stop.

        Args:
            position: Where it is: a tuple that is greater at each gate, and the same on all ranks.
            wish: Why this rank would like to stop, as ``"stop"``; it wishes so until all do.

        Returns:
            Why all ranks stop here; ``""`` to go on.

        Raises:
            PeerFailed: If another rank has failed.
        """
        if wish:
            return self._settle(position, wish)
        self.passed = position
        # In this order: the thread sets `frozen` first, and then looks at what was passed.
        if self.frozen:
            return self._settle(position, "")
        return ""

    def mark(self) -> None:
        """Says that there is progress, where there is no gate."""
        self.marked = True

    @contextmanager
    def waiting(self, where: str, patient: bool = False) -> Iterator[None]:
        """Says in what the main thread waits for others.

        Args:
            where: What it is called in reports, as ``"the barrier 'setup'"``.
            patient: Whether it may take as long as it wants on one rank, so that the group is not ended.
        """
        before, self.where = self.where, where
        self.patient += patient
        self.marked = True
        try:
            yield
        finally:
            self.where = before
            self.patient -= patient
            self.marked = True

    def fail(self, error: BaseException) -> BaseException:
        """Tells the others that this rank has failed, unless it only followed another one.

        Args:
            error: The error that ends the run here.

        Returns:
            What to raise: the error itself if it is the cause, `PeerFailed` if it is another rank's.
        """
        if self._closed or os.getpid() != self._pid or isinstance(error, (PeerFailed, SIGTERMException)):
            self.back = True
            return error
        self.back = True
        if isinstance(error, SystemExit) and not error.code:
            if self._all_exit():
                return error
            error.code = 1  # whoever has started this process is to know that the run was not over
        if self.culprit is None:
            if is_of_a_broken_connection(error):
                self._find_out_who()
            if self.culprit is None:
                ending.record_error(error)  # before the others hear of it: any of them may be the first to end
                self._blame(fault_of(error, self.rank))
                if self.culprit is not None and self.culprit.rank != self.rank:
                    ending.withdraw_error()
        fault = self.culprit
        if fault is None or fault.rank == self.rank:
            ending.record_error(error)
        elif isinstance(error, Exception) and not is_the_same(error, fault):
            failed = PeerFailed(fault, self.world_size)
            failed.__cause__ = None if is_of_a_broken_connection(error) else error
            return failed
        add_note(error, f"on rank {self.rank} of {self.world_size}")
        return error

    def blame(self, fault: Fault) -> None:
        """Tells the others of another rank's failure, as the launcher that is its parent sees it.

        Args:
            fault: What happened; nothing is done if there is a culprit already.
        """
        if not self._closed and os.getpid() == self._pid and self.culprit is None:
            self._watchdog.send("fault", fault=fault.as_dict())

    def healthy(self) -> bool:
        """Whether nobody has failed and everybody answers."""
        if os.getpid() != self._pid:
            return True
        if self.culprit is not None:
            return False
        return None not in self.ask().values() and self.culprit is None

    def absent(self, place: str, where: str) -> list[int]:
        """Waits until all ranks have come to a place; see :class:`RollCall`.

        Args:
            place: Its name among those between two places that all come to.
            where: What it is called in reports.
        """
        with self.waiting(where):
            self._roll_call = self._roll_call or RollCall(self, self._store)
            return self._roll_call.absent(place)

    @property
    def whereabouts(self) -> str:
        """Which method of the Trainer this rank is in, as a sentence."""
        return f"Rank {self.rank} is in `{self.run}`." if self.run else f"Rank {self.rank} goes on."

    def _all_exit(self) -> bool:
        """Whether all ranks end their processes here without complaint, as where their code is the same."""
        self.exits = True
        deadline = time.monotonic() + _HEARD
        while self.culprit is None and time.monotonic() < deadline:
            answers = self.ask()
            if answers and all(answer is not None and answer["exits"] for answer in answers.values()):
                return True
            time.sleep(_SOON)
        return False

    def ask(self) -> dict[int, Any]:
        """What each rank says of itself; None for one that gives no answer."""
        question = Question("health", ANSWER)
        self._watchdog.ask(question)
        with self.changed:
            while question.answers is None and self.culprit is None and self._watchdog.is_alive():
                self.changed.wait(1.0)
        return question.answers or {}

    def _settle(self, position: Position, wish: str) -> str:
        if self._closed or os.getpid() != self._pid:
            return ""
        with self.changed:
            if wish and not self.agreement.is_open:
                self.wish = wish
                self._watchdog.wake()
            while True:
                if self.culprit is not None:
                    self.back = True
                    raise PeerFailed(self.culprit, self.world_size)
                reason = self.agreement.verdict(position) if self.agreement.is_open else None
                if reason is not None:
                    self.passed, self.wish = position, ""
                    self.frozen = self.agreement.is_open
                    return reason
                if not self.agreement.is_open and (self.agreement.is_over or not self._watchdog.is_alive()):
                    self.wish, self.passed = "", position
                    return ""
                self.changed.wait(1.0)

    def _find_out_who(self) -> None:
        """Waits until somebody has said who is gone, or finds who does not answer."""
        question = Question("health", _WHO)
        self._watchdog.ask(question)
        self._wait(lambda: self.culprit is not None or question.answers is not None, _WHO + 1.0)
        silent = [rank for rank, answer in (question.answers or {}).items() if answer is None]
        if self.culprit is None and silent:
            self._blame(Fault(silent[0], "lost", f"The connection to it broke, and it gave no answer for {_WHO:g} s."))
        else:
            # Whose connection broke while all answer may only hear of the cause after the others have.
            self._wait(lambda: self.culprit is not None, 0.0 if silent else 1.0)

    def _blame(self, fault: Fault) -> None:
        self._watchdog.send("fault", fault=fault.as_dict())
        self._wait(lambda: self.culprit is not None, _TOLD)
        self._wait(lambda: self._watchdog.all_know, _HEARD)

    def _wait(self, condition: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition() and self._watchdog.is_alive() and time.monotonic() < deadline:
                self.changed.wait(max(0.0, deadline - time.monotonic()))
