"""The thread that looks after a group."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fulmen.strategies.peers import ending, liveness, stalls
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.ending import LAST, Ending
from fulmen.strategies.peers.faults import Fault
from fulmen.strategies.peers.liveness import Identity
from fulmen.strategies.peers.neighbours import Neighbours
from fulmen.strategies.peers.questions import Question, Questions
from fulmen.strategies.peers.rounds import ANSWER, Rounds
from fulmen.strategies.peers.signal_watch import SignalWatch
from fulmen.strategies.peers.stall_watch import StallWatch
from fulmen.strategies.peers.wire import NoAnswer, StoreLost

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# How often to look, in seconds: in the usual case, and while something is being settled, where each wait is longer than
# the one before by a part of it: a thousand ranks that wait for one must not keep the store busy.
_USUAL = 0.5
_SOON = 0.02
_LONGER = 1.1
# How long the process in which the store lives waits for others to see that it leaves in order.
_LEAVING = 1.0
# How long a rank tries to say that it leaves. A store looks up the name of whoever connects, and meanwhile answers
# nobody; where names are looked up in vain, that takes 5 s.
_PATIENCE = 7.0
# Stands for a wait without end, where that cannot be told.
_LONG = 1e9


class Watchdog:
    """Reads and writes the board, looks after processes and clocks, and ends this one if nobody else does.

    Args:
        peers: Whose main thread it looks after.
        board: Where the ranks meet.
        identity: Which process this one is.
        others: Which process each other rank is; empty if they have not said so.

    Attributes:
        all_know: Whether all who live have heard of the fault.
    """

    def __init__(self, peers: Peers, board: Board, identity: Identity, others: dict[int, Identity]) -> None:
        self.all_know = False
        self._peers = peers
        self._board: Board | None = board  # None once the store is lost
        self._wire = board
        self._neighbours = Neighbours(peers.rank, peers.world_size, identity)
        self._neighbours.others = others
        self._stalls = StallWatch(peers)
        self._questions = Questions(board, self._neighbours)
        self._ending = Ending(peers, self._neighbours)
        self._signals = SignalWatch(peers)
        self._rounds = Rounds(peers, self._look_at_processes, self._accuse)
        self._outbox: list[tuple[str, dict[str, Any]]] = []
        self._heard: list[dict[str, Any]] = []
        self._report = ""
        self._hello = self._seen = False
        self._silent_since: float | None = None
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fulmen-peers", daemon=True)

    # For the main thread

    def start(self) -> None:
        """Starts the thread."""
        self._signals.begin()
        self._wire.start()
        try:
            self._say_hello(self._wire)  # here, so that a rank that has come so far can be missed
        except (NoAnswer, StoreLost):
            pass  # the thread tries again, and knows what to do
        self._wake.set()
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Has it look at once."""
        self._wake.set()

    def send(self, what: str, **more: Any) -> None:
        """Has something added to the news.

        Args:
            what: The kind of event.
            **more: What it holds.
        """
        self._outbox.append((what, more))
        self.wake()

    def ask(self, question: Question) -> None:
        """Has all ranks asked.

        Args:
            question: It gets the answers.
        """
        self._questions.ask(question)
        self.wake()

    def close(self) -> None:
        """Says that this rank leaves in order, and ends."""
        self._closing = self._ending.called_off = True
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_LEAVING + _PATIENCE + 1.0)
            self._wire.stop()
        self._signals.end()

    # The thread

    def _run(self) -> None:
        pause = _SOON
        while not self._closing:
            pause = min(pause * _LONGER, _USUAL) if self._is_in_a_hurry() else _USUAL
            if self._wake.wait(pause) or pause == _USUAL:
                pause = _SOON
            self._wake.clear()
            try:
                self._tick()
            except Exception:  # a mistake in here must not leave the main thread without help
                self._board = None
                self._take(Fault(self._peers.rank, "exception", traceback.format_exc()))
        deadline = time.monotonic() + _PATIENCE
        while self._board is not None and time.monotonic() < deadline:
            try:
                self._leave(self._board)
                break
            except NoAnswer:
                continue  # what is to be told is not told yet
            except Exception:
                break  # the store is gone
        with self._peers.changed:
            self._peers.changed.notify_all()

    def _is_in_a_hurry(self) -> bool:
        if self._outbox or self._questions.is_waiting:
            return True
        if self._peers.culprit is not None:
            return not self.all_know and self._board is not None
        return bool(self._peers.wish) or self._peers.agreement.is_undecided

    def _tick(self) -> None:
        self._stalls.look()
        self._signals.look()
        if self._board is not None and self._neighbours.owner_is_gone():
            self._lose_store(StoreLost("its process has ended."))
        if self._board is not None:
            try:
                self._exchange(self._board)
                self._silent_since = None
            except NoAnswer:
                self._silent_since = self._silent_since or time.monotonic()
                self._look_at_silence(time.monotonic() - self._silent_since)
            except StoreLost as error:
                self._lose_store(error)
        if self._board is None:
            self._stand_alone()
        if self._peers.culprit is None:
            self._look_at_processes()
        else:
            self._ending.end_if_due(self._board)

    def _stand_alone(self) -> None:
        """Gives the main thread what it waits for, without the others."""
        faults = [Fault(**more["fault"]) for what, more in self._outbox if what == "fault"]
        self._outbox.clear()
        for fault in faults:
            self._take(fault)
        with self._peers.changed:
            if self._questions.give_up() or self._peers.wish:
                self._peers.agreement.end()
                self._peers.changed.notify_all()

    def _exchange(self, board: Board) -> None:
        neighbours = self._neighbours
        self._say_hello(board)
        if not neighbours.others:
            found = board.notes("hello", range(self._peers.world_size)) or {}
            neighbours.others = {rank: Identity(**one) for rank, one in found.items() if rank != self._peers.rank}
        while self._outbox:
            what, more = self._outbox[0]
            board.say(what, **more)
            self._outbox.pop(0)
        self._rounds.ask(board)
        self._listen(board)
        if self._board is None:
            return
        self._rounds.post(board)
        self._rounds.decide(board)
        self._questions.answer(self._stalls.answer)
        if self._peers.culprit is None and self._stalls.is_due:
            self._stalls.wait_on()
            self._questions.ask(Question("stall", ANSWER))
        self._gather_answers()
        self._see_who_knows(board)

    def _say_hello(self, board: Board) -> None:
        if not self._hello:
            board.note("hello", self._neighbours.identity.as_dict())
            self._hello = True

    def _listen(self, board: Board) -> None:
        self._heard += board.news()
        while self._heard:
            self._hear(board, self._heard[0])
            self._heard.pop(0)  # once it is done, which may need the store

    def _hear(self, board: Board, event: dict[str, Any]) -> None:
        what, rank = event["what"], event["rank"]
        if what == "fault":
            # One that has left in order may have been missed before that was read.
            if rank == event["fault"]["rank"] or event["fault"]["rank"] not in self._neighbours.left:
                self._take(Fault(**event["fault"]))
        elif what == "request":
            with self._peers.changed:
                self._peers.agreement.ask(event["number"], event["reason"], anybody_left=bool(self._neighbours.left))
                self._peers.changed.notify_all()
        elif what == "bye":
            self._neighbours.left.add(rank)
            if rank == self._neighbours.owner and rank != self._peers.rank:
                self._part_with(board)
        elif what == "ask":
            self._questions.was_asked(event["topic"])
            if event["kind"] == "stall" and rank != self._peers.rank:
                self._stalls.another_asks()
        elif what == "told":
            # Several may have found out; the first in the news prints it.
            is_first = not self._stalls.told
            self._stalls.is_told(event["again"])
            if is_first and rank == self._peers.rank:
                ending.say(self._report)

    def _part_with(self, board: Board) -> None:
        """Does without the store, which leaves in order. What its owner has agreed to is decided by all."""
        self._rounds.post(board)
        self._rounds.decide(board)
        board.note("bye seen", 1)
        self._board = None
        self._neighbours.others = {}  # who leaves from now on cannot say so
        del self._heard[1:]  # some do not read on
        with self._peers.changed:
            self._peers.agreement.end()
            self._peers.changed.notify_all()

    def _gather_answers(self) -> None:
        for question, answers in self._questions.gather():
            with self._peers.changed:
                question.answers = answers
                self._peers.changed.notify_all()
            if question.kind != "stall" or self._peers.culprit is not None:
                continue
            verdict = self._stalls.judge(answers)
            if verdict == "end":
                self._accuse(stalls.fault_of(answers))
            elif verdict == "report":
                self._report = stalls.tell(answers)
                self.send("told", again=min(self._stalls.again, _LONG))

    # Faults

    def _take(self, fault: Fault) -> None:
        peers = self._peers
        with peers.changed:
            if peers.culprit is not None:
                return
            peers.culprit, peers.frozen = fault, True
            peers.changed.notify_all()
            ending.leave_word(fault)
        self._ending.begin(fault)

    def _accuse(self, fault: Fault) -> None:
        """Puts a fault into the news; the first there is the culprit's."""
        if fault.kind == "left":
            fault = replace(fault, text=f"{self._peers.whereabouts} On rank {fault.rank}: {fault.text}")
        if self._board is None:
            self._take(fault)
        elif not any(what == "fault" for what, _ in self._outbox):
            self.send("fault", fault=fault.as_dict())

    def _look_at_processes(self) -> bool:
        """Whether all that can be seen from here live, or have left in order."""
        for fault in self._neighbours.faults():
            try:
                if self._board is not None:
                    self._heard += self._board.news()
            except (NoAnswer, StoreLost):
                return False  # the next look says more
            # Who leaves in order says so first, and then ends; who has heard that the store leaves says nothing.
            excused = {fault.rank, self._neighbours.owner}
            if not any(event["what"] == "bye" and event["rank"] in excused for event in self._heard):
                self._accuse(fault)
                return False
        return True

    def _look_at_silence(self, seconds: float) -> None:
        """The host of the store may be slow. It is a fault only where there is no time, or where nobody gets on."""
        peers, watch, owner = self._peers, self._stalls, self._neighbours.owner
        if peers.culprit is not None or seconds < ANSWER:
            return
        text = f"The store that lives there has given no answer for {seconds:.0f} s."
        told = stalls.tell({peers.rank: watch.answer()})
        if peers.wish_from_signal:
            self._take(Fault(owner, "lost", text))
        elif watch.is_over:
            self._take(Fault(owner, "stalled", f"{text}\n{told}"))
        elif watch.is_due:
            watch.wait_on()
            holder = "the process that holds the store" if owner < 0 else f"rank {owner}, which holds the store,"
            ending.say(f"{told}\nNothing is known of the others, since {holder} does not answer.")

    def _lose_store(self, error: StoreLost) -> None:
        self._board = None
        neighbours = self._neighbours
        owner = neighbours.owner
        if owner == self._peers.rank or owner in neighbours.left:
            return
        ended = None
        deadline = time.monotonic() + LAST
        while owner in neighbours.here() and ended is None and time.monotonic() < deadline:
            ended = liveness.how_it_ended(neighbours.others[owner])
            time.sleep(_SOON)  # a process closes its connections first, and ends then
        text = f"The store that lived there is gone: {str(error).splitlines()[0]}"
        self._accuse(Fault(owner, *(ended or ("lost", text))))

    def _see_who_knows(self, board: Board) -> None:
        peers = self._peers
        if peers.culprit is None or self.all_know:
            return
        if not self._seen:
            board.note("seen", 1)
            self._seen = True
        deaf = self._neighbours.dead()
        if peers.culprit.kind in ("killed", "left", "exit", "lost"):
            deaf.add(peers.culprit.rank)
        if board.notes("seen", [rank for rank in self._neighbours.present if rank not in deaf]) is not None:
            with peers.changed:
                self.all_know = True
                peers.changed.notify_all()

    # The end

    def _leave(self, board: Board) -> None:
        self._exchange(board)
        if self._peers.culprit is not None:
            self._ending.kill_the_silent(board)
        board.say("bye")
        self._listen(board)
        self._rounds.post(board)  # for a round that was asked for in between
        deadline = time.monotonic() + _LEAVING
        while self._neighbours.identity.owns_store and not self._is_seen_off(board) and time.monotonic() < deadline:
            time.sleep(_SOON)

    def _is_seen_off(self, board: Board) -> bool:
        """Whether nobody takes it for a death when the store goes away with this process."""
        self._listen(board)
        ignorant = set(self._neighbours.present) - self._neighbours.dead()
        return board.notes("bye seen", ignorant) is not None
