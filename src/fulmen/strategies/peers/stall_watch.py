"""When to ask all ranks where they are, and what follows from their answers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from fulmen.strategies.peers import stalls

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

# How much later than the one before it a rank asks, so that one asks for all.
_STAGGER = 1.0
_STAGGERED = 5
# How long an answer of the group to somebody else's question may take.
_ROUND = 6.0

Verdict = Literal["", "report", "end"]


class StallWatch:
    """Notes this rank's progress. No clock is compared with another's: what is told are seconds gone by.

    Args:
        peers: Whose main thread it is.

    Attributes:
        told: Whether it was printed where all are, since there was progress last.
        again: In how many seconds to ask again, after `judge`.
    """

    def __init__(self, peers: Peers) -> None:
        limits = [limit for limit in (peers.report_after, peers.end_after) if limit > 0]
        self.told = False
        self.again = math.inf
        self._peers = peers
        self._first = min(limits, default=math.inf)
        self._stagger = _STAGGER * min(peers.rank, _STAGGERED)
        self._passed: object = None
        self._progress = time.monotonic()
        self._next = math.inf

    def look(self) -> None:
        """Sees whether the main thread has made progress."""
        peers = self._peers
        if peers.marked or peers.passed is not self._passed:
            peers.marked, self._passed = False, peers.passed
            self._progress = time.monotonic()
            self._next = self._progress + self._first + self._stagger
            self.told = False

    @property
    def age(self) -> float:
        """For how many seconds this rank has made no progress."""
        return time.monotonic() - self._progress

    @property
    def is_due(self) -> bool:
        """Whether this rank has to ask the others."""
        return time.monotonic() >= self._next

    @property
    def is_over(self) -> bool:
        """Whether the group would be ended if the others were like this rank."""
        return 0 < self._peers.end_after <= self.age

    def answer(self) -> dict[str, Any]:
        """What this rank says of itself."""
        peers = self._peers
        return {
            "age": self.age,
            "passed": list(peers.passed),
            "places": peers.places,
            "where": peers.where,
            "patient": peers.patient > 0,
            "exits": peers.exits,
            **stalls.location(peers.main_thread),
        }

    def another_asks(self) -> None:
        """Leaves it to another rank to find out, for a while."""
        self._next = max(self._next, time.monotonic() + _ROUND + self._first / 4 + self._stagger)

    def is_told(self, again: float) -> None:
        """Takes note that it is printed where all are.

        Args:
            again: In how many seconds to ask again.
        """
        self.told = True
        self._next = time.monotonic() + again + self._stagger

    def judge(self, answers: Mapping[int, dict[str, Any] | None]) -> Verdict:
        """What to do.

        Args:
            answers: What the ranks say of themselves; None for one that is silent.
        """
        end_after = self._peers.end_after
        known = [answer for answer in answers.values() if answer is not None]
        youngest = min((answer["age"] for answer in known), default=self.age)
        patient = any(answer["patient"] for answer in known)
        verdict: Verdict = ""
        if youngest < self._first:
            self.again = self._first - youngest
        elif 0 < end_after <= youngest and not patient:
            return "end"
        else:
            self.again = math.inf if end_after <= 0 else max(end_after - youngest, 1.0)
            if not self.told and 0 < self._peers.report_after <= youngest:
                verdict = "report"
        self._next = time.monotonic() + self.again
        return verdict

    def wait_on(self) -> None:
        """Puts the question off, while one is being answered."""
        self._next = math.inf
