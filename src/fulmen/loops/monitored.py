"""The value that a scheduler steps by, where each process may have its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fulmen.strategies.exchange import Group, exchange

if TYPE_CHECKING:
    from fulmen.loops.metrics import Metrics
    from fulmen.loops.results import Results


class Monitored:
    """Makes the value of a key that of one process, so that all go on alike.

    It is that of the first process, or of the first with a batch where that one has none. What is the same on all by
    the way that it was logged is not exchanged.

    Args:
        strategy: How the processes agree.
        metrics: What was logged so far.
        results: What was logged in the epoch.
    """

    def __init__(self, strategy: Group, metrics: Metrics, results: Results) -> None:
        self.strategy = strategy
        self.metrics = metrics
        self.results = results

    def agree(self, key: str, value: Tensor | None, at_end: bool) -> tuple[Tensor | None, list[int]]:
        """The value to go by; all processes ask at the same places.

        Args:
            key: The key.
            value: This process's value; None where it has none.
            at_end: Whether an epoch ends here.

        Returns:
            The value, and which processes lack it; None if any does that has had a batch in the epoch.
        """
        results = self.results
        known = value is not None and not results.some_out  # one that never had a batch cannot know
        if known and not self.metrics.is_own(key, results.entries(), at_end):
            return value, []
        idle = results.out or results.batch is None
        found = exchange(self.strategy, (value, idle))
        lacking = [rank for rank, (one, idle) in enumerate(found) if one is None and not idle]
        if lacking:
            return None, lacking if len(lacking) < len(found) else []
        found.sort(key=lambda one: one[1])  # the first of those that train
        return next((one for one, _ in found if one is not None), None), []
