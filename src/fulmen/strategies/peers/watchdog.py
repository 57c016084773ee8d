"""The thread that looks after a group."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from fulmen.strategies.peers import ending, liveness, stalls
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.faults import Fault, PeerFailed
from fulmen.strategies.peers.liveness import Identity
from fulmen.strategies.peers.stall_watch import StallWatch
from fulmen.strategies.peers.wire import NoAnswer, StoreLost

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# How often to look, in seconds: in the usual case, and while something is being settled.
_USUAL = 0.5
_SOON = 0.02
# For how many seconds a main thread may stay away after a fault, and how long one that came back may take to end.
_AWAY = 3.0
_ENDING = 9.0
# Who prints the whole text does so last.
_LAST = 0.5
# Within how many seconds each rank says where it stands, where a signal has asked all to stop.
_SIGNAL = 5.0
# How long the process in which the store lives waits for others to see that it leaves in order.
_LEAVING = 1.0
# How long its own thread may take beyond that.
_PATIENCE = 1.0
# Stands for a wait without end, where that cannot be told.
_LONG = 1e9


class Asking:
    """A question to all ranks.

    Args:
        kind: ``"health"``, or ``"stall"``.
        patience: For how many seconds to wait for answers.

    Attributes:
        answers: What each rank has answered, None for one that has not; None as long as it is open.
    """

    _numbers = itertools.count()

    def __init__(self, kind: str, patience: float) -> None:
        self.kind = kind
        self.number = next(self._numbers)
        self.deadline = time.monotonic() + patience
        self.asked = False
        self.answers: dict[int, dict[str, Any] | None] | None = None


class Watchdog:
    """Reads and writes the board, looks after processes and clocks, and ends this one if nobody else does.

    Args:
        peers: Whose main thread it looks after.
        board: Where the ranks meet.
        identity: Which process this one is.

    Attributes:
        all_know: Whether all who live have heard of the fault.
    """

    def __init__(self, peers: Peers, board: Board, identity: Identity) -> None:
        self.all_know = False
        self._peers = peers
        self._board = board
        self._identity = identity
        self._others: dict[int, Identity] = {}
        self._stalls = StallWatch(peers)
        self._outbox: list[tuple[str, dict[str, Any]]] = []
        self._askings: list[Asking] = []
        self._to_answer: list[str] = []
        self._gone_in_order: set[int] = set()
        self._posted: set[int] = set()
        self._obeyed = ""
        self._hello = False
        self._seen = False
        self._board_lost = False
        self._silent_since: float | None = None
        self._fault_since = 0.0
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fulmen-peers", daemon=True)

    # For the main thread

    def start(self) -> None:
        """Starts the thread."""
        self._board.start()
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

    def ask(self, asking: Asking) -> None:
        """Has all ranks asked.

        Args:
            asking: The question, which gets the answers.
        """
        self._askings.append(asking)
        self.wake()

    def close(self) -> None:
        """Says that this rank leaves in order, and ends."""
        self._closing = True
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_LEAVING + 4 * _PATIENCE)
        self._board.stop()

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(_SOON if self._is_in_a_hurry() else _USUAL)
                self._wake.clear()
                self._tick()
            self._leave()
        except Exception:
            fault = Fault(self._peers.rank, "lost", f"The thread that looks after it failed:\n{traceback.format_exc()}")
            self._take(fault)
        finally:
            with self._peers.changed:
                self._peers.changed.notify_all()

    def _is_in_a_hurry(self) -> bool:
        agreement = self._peers.agreement
        undecided = any(one.limit is None for one in agreement.rounds.values())
        settling = bool(self._peers.wish) or undecided
        culprit = self._peers.culprit
        return not self._board_lost and (
            bool(self._outbox) or bool(self._askings) or (settling and culprit is None)
            or (culprit is not None and not self.all_know)
        )  # fmt: skip

    def _tick(self) -> None:
        self._stalls.look()
        if not self._board_lost:
            try:
                self._exchange()
                self._silent_since = None
            except NoAnswer:
                self._silent_since = self._silent_since or time.monotonic()
                self._look_at_silence(self._silent_since)
            except StoreLost as error:
                self._board_lost = True
                self._lose_board(error)
        if self._peers.culprit is None:
            self._look_at_processes()
        else:
            self._end_if_due()

    def _exchange(self) -> None:
        board, peers = self._board, self._peers
        if not self._hello:
            board.note("hello", self._identity.as_dict())
            self._hello = True
        if not self._others:
            found = board.notes("hello", range(peers.world_size)) or {}
            self._others = {rank: Identity(**one) for rank, one in found.items() if rank != peers.rank}
        while self._outbox:
            what, more = self._outbox[0]
            board.say(what, **more)
            self._outbox.pop(0)
        self._ask_for_a_round()
        for event in board.news():
            self._hear(event)
        self._post()
        self._decide()
        while self._to_answer:
            board.note(self._to_answer[0], self._stalls.answer())
            self._to_answer.pop(0)
        if peers.culprit is None and self._stalls.is_due:
            self._stalls.wait_on()
            self._askings.append(Asking("stall", _SIGNAL))
        self._gather_answers()
        self._see_to_it_that_all_know()

    def _hear(self, event: dict[str, Any]) -> None:
        what, rank = event["what"], event["rank"]
        if what == "fault":
            self._take(Fault(**event["fault"]))
        elif what == "request":
            with self._peers.changed:
                self._peers.agreement.ask(event["number"], event["reason"], frozenset(self._gone_in_order))
        elif what == "bye":
            self._gone_in_order.add(rank)
            if (other := self._others.get(rank)) is not None and other.owns_store:
                self._board.note("bye seen", 1)
        elif what == "ask":
            self._to_answer.append(event["topic"])
            if event["kind"] == "stall" and rank != self._peers.rank:
                self._stalls.another_asks()
        elif what == "told" and rank != self._peers.rank:
            self._stalls.another_has_told(event["again"])

    def _take(self, fault: Fault) -> None:
        peers = self._peers
        with peers.changed:
            if peers.culprit is None:
                self._fault_since = time.monotonic()
                peers.culprit, peers.frozen = fault, True
                peers.changed.notify_all()

    # Where to stop

    def _ask_for_a_round(self) -> None:
        peers = self._peers
        with peers.changed:
            number, is_open = peers.agreement.turn, peers.agreement.is_open
            if is_open:
                peers.wish = ""
            if number and peers.agreement.rounds[number - 1].reason == peers.wish_from_signal:
                self._obeyed = peers.wish_from_signal
            signal = peers.wish_from_signal
            wish = peers.wish or (signal if signal != self._obeyed else "")
        if wish and not is_open and peers.culprit is None:
            self._board.say("request", number=number, reason=wish)

    def _post(self) -> None:
        peers = self._peers
        for number in sorted(peers.agreement.rounds.keys() - self._posted):
            with peers.changed:
                peers.frozen = True  # first: what is passed from now on is thought about
                passed = peers.passed
            self._board.note(f"passed/{number}", list(passed))
            self._posted.add(number)

    def _decide(self) -> None:
        peers = self._peers
        for number, one in list(peers.agreement.rounds.items()):
            if one.limit is not None:
                continue
            passed = self._board.notes(f"passed/{number}", range(peers.world_size))
            if passed is None:
                if one.reason.startswith("signal:") and time.monotonic() - one.since > _SIGNAL:
                    self._nobody_there(f"passed/{number}")
                return
            if one.reason.startswith("signal:"):
                self._look_at_processes()  # nothing is saved by what is left of a group
            if peers.culprit is None:
                with peers.changed:
                    one.limit = max(tuple(position) for position in passed.values())
                    peers.changed.notify_all()

    def _nobody_there(self, topic: str) -> None:
        ranks = range(self._peers.world_size)
        there = self._board.notes_there_are(topic, ranks)
        missing = [rank for rank in ranks if rank not in there]
        if missing and self._peers.culprit is None:
            text = f"It did not say where it is within {_SIGNAL:g} s, when a signal asked all ranks to stop."
            self._accuse(Fault(missing[0], "lost", text))

    # Questions

    def _gather_answers(self) -> None:
        for asking in list(self._askings):
            topic = f"answer/{self._peers.rank}.{asking.number}"
            if not asking.asked:
                self._board.say("ask", topic=topic, kind=asking.kind)
                asking.asked = True
                self._wake.set()
                continue
            ranks = [rank for rank in range(self._peers.world_size) if rank not in self._gone_in_order]
            answers: dict[int, Any] | None = self._board.notes(topic, ranks)
            if answers is None:
                if time.monotonic() < asking.deadline:
                    continue
                there = self._board.notes_there_are(topic, ranks)
                answers = {rank: there.get(rank) for rank in ranks}
            self._askings.remove(asking)
            with self._peers.changed:
                asking.answers = answers
                self._peers.changed.notify_all()
            if asking.kind == "stall":
                self._judge(answers)

    def _judge(self, answers: dict[int, Any]) -> None:
        verdict = self._stalls.judge(answers)
        if verdict == "report":
            self._board.say("told", again=min(self._stalls.again, _LONG))
            ending.say(stalls.tell(answers, self._stalls.age))
        elif verdict == "end" and self._peers.culprit is None:
            self._accuse(stalls.fault_of(answers, self._stalls.age))

    # Faults

    def _accuse(self, fault: Fault) -> None:
        """Puts a fault into the news; whose comes first there is the culprit."""
        if not any(what == "fault" for what, _ in self._outbox):
            self.send("fault", fault=fault.as_dict())

    def _look_at_processes(self) -> None:
        if self._peers.culprit is not None:
            return
        for rank, other in self._neighbours().items():
            if (ended := liveness.how_it_ended(other)) is not None:
                fault = Fault(rank, *ended)
                if self._board_lost:
                    self._take(fault)
                else:
                    self._accuse(fault)
                return

    def _neighbours(self) -> dict[int, Identity]:
        """Who is on this host, and has not left in order."""
        return {
            rank: other
            for rank, other in self._others.items()
            if other.host == self._identity.host and rank not in self._gone_in_order
        }

    def _look_at_silence(self, since: float) -> None:
        peers = self._peers
        if peers.culprit is not None:
            return
        owner = next((rank for rank, other in self._others.items() if other.owns_store), -1)
        seconds = time.monotonic() - since
        if seconds > _SIGNAL and (peers.wish_from_signal or self._stalls.is_over):
            kind = "lost" if peers.wish_from_signal else "stalled"
            text = f"The store that lives there gave no answer for {seconds:.0f} s."
            if kind == "stalled":
                text = f"{text}\n{stalls.tell({peers.rank: self._stalls.answer()}, self._stalls.age)}"
            self._take(Fault(owner, kind, text))
        elif seconds > _SIGNAL and self._stalls.is_due:
            self._stalls.wait_on()
            silent = "the process that holds the store" if owner < 0 else f"rank {owner}, which holds the store,"
            told = stalls.tell({peers.rank: self._stalls.answer()}, self._stalls.age)
            ending.say(f"{told}\nNothing is known of the others, since {silent} does not answer.")

    def _lose_board(self, error: StoreLost) -> None:
        owner = next((rank for rank, other in self._others.items() if other.owns_store), -1)
        if self._identity.owns_store or owner in self._gone_in_order:
            return
        text = f"The store that lived there is gone: {str(error).splitlines()[0]}"
        other = self._neighbours().get(owner)
        if other is None:
            self._take(Fault(owner, "lost", text))
            return
        deadline = time.monotonic() + _LAST
        while (ended := liveness.how_it_ended(other)) is None and time.monotonic() < deadline:
            time.sleep(_SOON)  # a process closes its connections first, and ends then
        self._take(Fault(owner, *(ended or ("lost", text))))

    def _see_to_it_that_all_know(self) -> None:
        peers = self._peers
        if peers.culprit is None or self.all_know:
            return
        if not self._seen:
            self._board.note("seen", 1)
            self._seen = True
        dead = {rank for rank, other in self._neighbours().items() if liveness.how_it_ended(other) is not None}
        if peers.culprit.kind in ("killed", "exit", "lost"):
            dead.add(peers.culprit.rank)
        ranks = [rank for rank in range(peers.world_size) if rank not in dead | self._gone_in_order]
        if self._board.notes("seen", ranks) is not None:
            with peers.changed:
                self.all_know = True
                peers.changed.notify_all()

    # The end

    def _end_if_due(self) -> None:
        peers, fault = self._peers, self._peers.culprit
        assert fault is not None
        seconds = time.monotonic() - self._fault_since
        limit = _ENDING if peers.back else _AWAY
        if seconds < limit or self._closing:
            return
        is_teller = self._is_teller(fault)
        if is_teller and seconds < limit + _LAST:
            return
        if fault.rank == peers.rank:
            ending.record(fault, peers.world_size)
        self._kill_who_does_not_hear()
        code = 143 if peers.wish_from_signal == "signal:15" else 1
        who = f"rank {fault.rank}" if fault.rank >= 0 else "the store"
        short = f"Rank {peers.rank} of {peers.world_size} ends because {who} failed."
        if not self._closing:
            ending.end(code, str(PeerFailed(fault, peers.world_size)) if is_teller else short)

    def _is_teller(self, fault: Fault) -> bool:
        """Whether nobody before this rank has heard of the fault, so that it tells."""
        culprit = {fault.rank} if fault.kind != "stalled" else set()
        before = [rank for rank in range(self._peers.rank) if rank not in self._gone_in_order | culprit]
        if self._peers.rank in culprit:
            return False
        try:
            if not self._board_lost:
                return not any(self._board.notes("seen", [rank]) for rank in before)
        except (NoAnswer, StoreLost):
            pass
        alive = self._neighbours()
        return not any(rank in alive and liveness.how_it_ended(alive[rank]) is None for rank in before)

    def _kill_who_does_not_hear(self) -> None:
        """Ends processes of this host that cannot end themselves: stopped, or in code that keeps the GIL."""
        if self._board_lost:
            return
        try:
            for rank, other in self._neighbours().items():
                if self._board.notes("seen", [rank]) is None:
                    liveness.kill(other)
        except (NoAnswer, StoreLost):
            pass

    def _leave(self) -> None:
        if self._board_lost:
            return
        try:
            self._exchange()
            self._board.say("bye")
            for event in self._board.news():
                self._hear(event)
            self._post()  # for a round that was asked for in between
            deadline = time.monotonic() + _LEAVING
            while self._identity.owns_store and time.monotonic() < deadline and not self._is_seen_off():
                time.sleep(_SOON)
        except (NoAnswer, StoreLost):
            pass

    def _is_seen_off(self) -> bool:
        for event in self._board.news():
            self._hear(event)
        dead = {rank for rank, other in self._neighbours().items() if liveness.how_it_ended(other) is not None}
        dead.add(self._peers.rank)
        ranks = [rank for rank in range(self._peers.world_size) if rank not in dead | self._gone_in_order]
        return self._board.notes("bye seen", ranks) is not None
