"""How far an epoch is through, where the number of processes has changed in it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Pace(NamedTuple):
    """The steps of an epoch, in those of the run that began it.

    Attributes:
        whole: How many steps the epoch had there.
        begun: After how many steps the number of processes changed.
        place: Where that was.
        left: How many steps are left from there on.
        before: How far a step led before.
    """

    whole: int
    begun: int
    place: float
    left: int
    before: float = 1.0

    @property
    def stride(self) -> float:
        """How far a step leads now."""
        return (self.whole - self.place) / self.left if self.left else self.before

    def at(self, steps: int) -> float:
        """Where the epoch is after so many steps of it."""
        return self.place + (steps - self.begun) * (self.stride if steps > self.begun else self.before)

    def changed(self, steps: int, left: int) -> Pace:
        """The same, where the number of processes has changed once more.

        Args:
            steps: After how many steps.
            left: How many are left.
        """
        before = self.stride if steps > self.begun else self.before
        return Pace(self.whole, steps, self.at(steps), left, before)

    @classmethod
    def of(cls, feed: dict[str, Any], left: int) -> list[float] | None:
        """The pace of a rest, in plain values; None where it is not known how long the epoch was.

        Args:
            feed: Where the pass was.
            left: How many steps are left.
        """
        steps = feed["consumed"]
        if feed.get("pace"):
            return [*cls(*feed["pace"]).changed(steps, left)]
        return [*cls(feed["total"], steps, steps, left)] if feed.get("total") else None
