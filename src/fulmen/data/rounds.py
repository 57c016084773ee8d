"""A pass over the batches of a training epoch that several processes make together, round by round."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fulmen.data.division import NONE, Division
from fulmen.data.feed import Feed
from fulmen.data.ghost import GHOST
from fulmen.data.read_ahead import ReadAhead
from fulmen.data.sharding import compare_first
from fulmen.data.stream import StatefulStream
from fulmen.data.transfer import has_streams, prefetch
from fulmen.utilities.combined_loader import length_of
from fulmen.utilities.exceptions import MisconfiguredRun


class RoundFeed(Feed):
    """One batch a round, or :data:`GHOST` while only other processes have one.

    Args:
        loader: See :class:`Feed`.
        limit: The most rounds.
        division: Which batches are whose.
        strategy: How processes agree.
        refusal: Why all processes must have as many batches; None where they need not.
        **options: See :class:`Feed`.

    Attributes:
        total: The number of rounds; see :class:`Feed`.
        active: The ranks that have a batch in the round that was handed out last.

    Raises:
        MisconfiguredRun: If they must and do not, here or at the latest before the round in which it shows.
    """

    def __init__(
        self, loader: Any, limit: int | float, *, division: Division, strategy: Any, refusal: str | None, **options: Any
    ) -> None:
        self.division, self.strategy, self.refusal = division, strategy, refusal
        self.rank, self.world = strategy.global_rank, strategy.world_size
        self.active: tuple[int, ...] = ()
        self._ranks: deque[tuple[int, ...]] = deque()
        self._first: dict[int, Iterator[Any]] = {}
        self._has = math.inf  # batches of this process's, once it is known
        super().__init__(loader, limit, **options)
        if self.saved is not None and "kinds" in self.saved:
            division.kinds = list(self.saved["kinds"])
        self._own_begun = self.begun if self.saved is None else self.saved.get("own", self.begun)
        if division.how == "counts":
            self._check((), [str(int(count)) for count in division.limits])

    def _extent(self, limit: int | float) -> tuple[int | float, int | float]:
        return length_of(self.loader), limit

    def state_dict(self, consumed: int) -> dict[str, Any]:
        own = consumed if self.division.how == "rows" else self.own_of(consumed)
        state = super().state_dict(own)
        if state is self.saved:
            return state
        return {
            **state,
            "consumed": consumed,
            "ended": consumed == self.total,
            "own": own,
            "kinds": self.division.kinds,
        }

    def own_of(self, rounds: int) -> int:
        """How many batches this process had in so many rounds."""
        return int(min(rounds, self._has))

    # Reading.

    def __iter__(self) -> Iterator[Any]:
        if self.total == 0:
            return iter(())
        self._ask()
        how = self.division.how
        if how == "turns":
            self.total = math.inf
        if self.saved and self.saved["ended"] and self._is_done_with():
            self.total = self.begun
            return iter(())
        for stream, kind in zip(self.streams, self.division.kinds, strict=True):
            stream.stride = self.world if kind == "dealt" and not (how == "rows" and self._combined) else 1
        batches = self._opened()
        if how == "rows":
            batches = self._dealt(batches)
        batches = self._read_ahead(batches, how)
        if how != "rows":
            own = self.division.limits[self.rank]
            batches = batches if own == math.inf else self._limited(batches, int(own), self._own_begun)
        if self.device is not None:
            batches = prefetch(batches, self.device)
        if how == "counts":
            batches = self._filled(batches)
        elif how == "turns":
            batches = self._in_turn(batches)
        elif self.total != math.inf:
            batches = islice(batches, max(int(self.total) - self.begun, 0))
        return self._handed_out(self._counted(batches) if self.total == math.inf else batches)

    def _read_ahead(self, batches: Iterator[Any], how: str) -> Iterator[Any]:
        depth = (self.total == math.inf) + (how == "turns")
        depth += self.device is not None and has_streams(self.device)
        if not depth and not any(type(stream) is StatefulStream for stream in self.streams):
            return batches
        pending = self.saved.get("pending") if self.saved else None
        begun = self.begun if how == "rows" else self._own_begun
        self._ahead = ReadAhead(batches, self.streams, begun, depth + self.window, pending)
        return self._ahead

    def _ask(self) -> None:
        """Finds out whether streams give the same batches everywhere, by their first ones."""
        kinds = self.division.kinds
        asked = [position for position, kind in enumerate(kinds) if kind == "ask"]
        if not asked:
            return
        opened = {position: super(RoundFeed, self)._open_one(position) for position in asked}
        self._first, found = compare_first(self.strategy, opened)
        for position, digests in found.items():
            self.division.settle(position, digests)

    def _open_one(self, position: int) -> Iterator[Any]:
        batches = self._first.pop(position, None)
        if batches is None:
            batches = super()._open_one(position)
        if self.division.how == "turns" and self.division.kinds[position] == "dealt":
            # one that says itself where it is stands behind a batch of this process's
            stream = self.streams[position]
            begun = "part" in stream.saved and stream.skip > 0
            return islice(batches, self.world - 1 if begun else self.rank, None, self.world)
        return batches

    # Rounds.

    def _dealt(self, batches: Iterator[Any]) -> Iterator[Any]:
        """This process's batch of each round, where every process reads them all."""
        number = self.begun
        while True:
            mine, count = GHOST, 0
            for count, batch in enumerate(islice(batches, self.world), 1):
                if count == self.rank + 1:
                    mine = batch
            if not count:
                return
            if mine is GHOST:
                self._has = min(self._has, number)
            active = tuple(range(count))
            self._check(active, [str(number + (rank < count)) for rank in range(self.world)])
            self._ranks.append(active)
            number += 1
            yield mine
            if count < self.world:
                return

    def _filled(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The rounds, where everybody knows how many batches the others have."""
        counts = self.division.limits
        own = self._has = counts[self.rank]
        for number in range(self.begun, int(self.total)):
            batch = next(batches, NONE)
            if (batch is NONE) != (number >= own):
                raise _broken_promise(self.loader, own, number)
            self._ranks.append(tuple(rank for rank, count in enumerate(counts) if count > number))
            yield GHOST if batch is NONE else batch
        next(batches, None)

    def _in_turn(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The rounds, where the processes tell each other a round ahead."""
        turns = self.strategy.open_turns()
        number, read = self.begun, self._own_begun
        counts: dict[int, int] = {}
        ahead = next(batches, NONE)
        turns.say(number, ahead is not NONE)
        while True:
            batch, ahead = ahead, NONE if ahead is NONE else next(batches, NONE)
            if batch is NONE:
                self._has = min(self._has, read)
            read += batch is not NONE
            turns.say(number + 1, ahead is not NONE)
            active = turns.hear(number)
            if not active:
                return
            for rank in range(self.world):
                if rank not in active:
                    counts.setdefault(rank, number)
            shown = [f"more than {number}" if rank in active else str(counts[rank]) for rank in range(self.world)]
            self._check(active, shown)
            self._ranks.append(active)
            number += 1
            yield GHOST if batch is NONE else batch

    def _handed_out(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self.active = self._ranks.popleft()
            yield batch

    def _check(self, active: tuple[int, ...], shown: list[str]) -> None:
        if self.refusal is not None and len(active) < self.world:
            raise _uneven(self.refusal, shown)


def _uneven(refusal: str, shown: list[str]) -> MisconfiguredRun:
    counts = "; ".join(f"rank {rank}: {count}" for rank, count in enumerate(shown))
    return MisconfiguredRun(
        f"{refusal}, all processes need as many training batches in an epoch.",
        got=f"batches by process: {counts}",
        fix="Give all processes as many: pad or cut the data, or pass `limit_train_batches` with the smallest number. "
        'Or use `DDPStrategy(uneven="join")` with automatic optimization, one optimizer, and without `SyncBatchNorm` '
        "and `static_graph`: then processes that ran out take part until the last one is through.",
    )


def _broken_promise(loader: Any, promised: int | float, number: int) -> MisconfiguredRun:
    return MisconfiguredRun(
        "On several processes a training loader has as many batches as it says, since the other processes go by it.",
        got=f"`{type(loader).__name__}` of length {int(promised)} that ended after {number} batches",
        fix="Correct its `__len__` (or that of its sampler).",
    )
