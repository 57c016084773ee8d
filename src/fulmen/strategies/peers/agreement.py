"""Where all ranks stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

Position = tuple[float, ...]

# Where somebody is who has passed everything.
END: Position = (math.inf,)


@dataclass
class Round:
    """One agreement.

    Attributes:
        reason: Why to stop.
        since: When this rank heard of it.
        limit: The furthest position that any rank had passed when it stood still; None until it is known.
    """

    reason: str
    since: float = field(default_factory=time.monotonic)
    limit: Position | None = None


class Agreement:
    """The rounds that were asked for, and in which of them this rank is.

    Somebody asks for a round. From when a rank hears of it, its main thread stops to think at each gate; what it has
    passed until then is put down. All stop at the first gate behind the furthest of those positions, where nobody can
    have been yet. The rounds have numbers, and the first who asks for one has it, in the order of the news.

    Attributes:
        turn: The number of the round that is next to be obeyed.
        rounds: What is known, by number.
        is_over: Whether there is nobody to agree with any more.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.is_over = False
        self.rounds: dict[int, Round] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is a round that this rank has not obeyed."""
        return self.turn in self.rounds

    @property
    def is_undecided(self) -> bool:
        """Whether there is a round of which it is not known where to stop."""
        return any(one.limit is None for one in list(self.rounds.values()))

    def ask(self, number: int, reason: str, anybody_left: bool = False) -> None:
        """Takes note that somebody has asked for a round.

        Args:
            number: Which.
            reason: Why.
            anybody_left: Whether somebody had left in order before, who has passed everything.
        """
        if number not in self.rounds:
            self.rounds[number] = Round(reason, limit=END if anybody_left else None)

    def end(self) -> None:
        """From now on there is nobody to agree with: nobody stops at what is not decided."""
        self.is_over = True
        for one in self.rounds.values():
            one.limit = one.limit or END

    def verdict(self, position: Position) -> str | None:
        """What a gate answers.

        Args:
            position: Where the gate is.

        Returns:
            The reason if all stop here, ``""`` if they do not yet; None if it is not known so far.
        """
        current = self.rounds[self.turn]
        if current.limit is None:
            return None
        if position <= current.limit:
            return ""
        self.turn += 1
        return current.reason
