"""The rounds of an agreement, as they go through the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fulmen.strategies.peers.agreement import Position
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.faults import Fault

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# Within how many seconds each rank answers: where it stands when a signal asks all to stop, and where it is in a stall.
ANSWER = 5.0


class Rounds:
    """Asks for rounds, and does this rank's part in them.

    Args:
        peers: Whose main thread it is.
        all_live: Says whether nobody's death can be seen from here.
        accuse: Takes a fault.
    """

    def __init__(self, peers: Peers, all_live: Callable[[], bool], accuse: Callable[[Fault], None]) -> None:
        self._peers = peers
        self._all_live = all_live
        self._accuse = accuse
        self._passed: dict[int, Position] = {}
        self._posted: set[int] = set()
        self._obeyed = ""

    def ask(self, board: Board) -> None:
        """Asks for a round if this rank wishes to stop.

        Args:
            board: Where the ranks meet.
        """
        peers, agreement = self._peers, self._peers.agreement
        with peers.changed:
            number, signal = agreement.turn, peers.wish_from_signal
            if agreement.is_open:
                peers.wish = ""
                return
            if number and agreement.rounds[number - 1].reason == signal:
                self._obeyed = signal
            wish = peers.wish or (signal if signal != self._obeyed else "")
        if wish and peers.culprit is None:
            board.say("request", number=number, reason=wish)

    def post(self, board: Board) -> None:
        """Notes what the main thread has passed, for each round that was asked for.

        Args:
            board: Where the ranks meet.
        """
        peers = self._peers
        for number in sorted(peers.agreement.rounds.keys() - self._posted):
            if number not in self._passed:  # once, since a note whose answer is late is put down again
                with peers.changed:
                    peers.frozen = True  # first: at what is passed from now on, the main thread waits
                    self._passed[number] = peers.passed
            board.note(f"passed/{number}", list(self._passed[number]))
            self._posted.add(number)

    def decide(self, board: Board) -> None:
        """Finds where to stop, once all have noted what they have passed.

        Args:
            board: Where the ranks meet.
        """
        peers = self._peers
        for number, one in list(peers.agreement.rounds.items()):
            if one.limit is not None or peers.culprit is not None:
                continue
            by_signal = one.reason.startswith("signal:")
            passed = board.notes(f"passed/{number}", range(peers.world_size))
            if passed is None:
                if by_signal and time.monotonic() - one.since > ANSWER:
                    self._miss_somebody(board, f"passed/{number}")
            elif not by_signal or self._all_live():  # what is left of a group saves nothing
                with peers.changed:
                    one.limit = max(tuple(position) for position in passed.values())
                    peers.changed.notify_all()

    def _miss_somebody(self, board: Board, topic: str) -> None:
        there = board.notes_there_are(topic, range(self._peers.world_size))
        missing = [rank for rank in range(self._peers.world_size) if rank not in there]
        if missing:
            text = f"It did not say where it is within {ANSWER:g} s, when a signal asked all ranks to stop."
            self._accuse(Fault(missing[0], "lost", text))
