"""One pass over a loader that several processes make together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Any

from fulmen.data.feed import Feed
from fulmen.data.sharding import Share, Way, compare_first, is_ordered, way_of
from fulmen.data.stream import MapStream, Noted
from fulmen.data.worker_stream import WorkerStream
from fulmen.strategies.exchange import Group
from fulmen.utilities.combined_loader import CombinedLoader, length_of
from fulmen.utilities.rank_zero import rank_zero_info

_NONE = object()
_said: set[str] = set()


class SharedFeed(Feed):
    """This process's batches of a pass: every one of them is read by one process, in the order of one process.

    It is opened by all processes at the same time. They agree then, in one exchange, on the random state with which
    samples are shuffled, and in one on whether streams give the same batches everywhere. In most passes there is
    nothing to agree on.

    Args:
        loader: See :class:`Feed`.
        limit: The most batches of the whole pass.
        strategy: How processes agree.
        own_limit: The most batches of this process's, where the data shard themselves and numbers of the whole pass are
            not known; None takes this process's part of `limit`.
        divided: Whether the data are known to do so.
        **options: See :class:`Feed`.

    Attributes:
        whole: The batches of the whole pass, as far as that is known.
        own: Whether the data shard themselves, so that each process reads all it gets.
    """

    def __init__(
        self,
        loader: Any,
        limit: int | float = math.inf,
        *,
        strategy: Group,
        own_limit: int | float | None = None,
        divided: bool = False,
        **options: Any,
    ) -> None:
        self.strategy = strategy
        self.share = Share(strategy.global_rank, strategy.world_size)
        self.own_limit = self.share.part_of(limit) if own_limit is None else own_limit
        combined = isinstance(loader, CombinedLoader)
        single = loader.flattened if combined else [loader]
        self.ways: list[Way] = ["own" if divided else way_of(one) for one in single]
        saved = options.get("saved")
        if saved is not None and "shards" in saved:
            self.ways = ["own" if own else "batches" if way == "ask" else way for own, way in saved["shards"]]
        self.own = "own" in self.ways
        self.counter: _Counting | None = None
        self._first: dict[int, Iterator[Any]] = {}
        super().__init__(loader, limit, **options)
        self._divide()

    def _divide(self) -> None:
        """Says what of each loader is read here."""
        # Where loaders begin anew, one follows on the other, or nobody knows which of them ends first, the rows are
        # counted, and not the batches of each.
        follow = self._combined and self.loader.mode in ("max_size_cycle", "sequential")
        self.by_rows = not self.own and (follow or (self._combined and {*self.ways} != {"indices"}))
        cut = int(self.whole) if self.whole < self._whole_length else None
        for stream, way in zip(self.streams, self.ways, strict=True):
            stream.share = self.share._replace(cut=cut) if way == "indices" and not self.by_rows else None
            stream.stride = self.share.world if way in ("batches", "ask") and not self.by_rows else 1

    def _extent(self, limit: int | float) -> tuple[int | float, int | float]:
        length = self._whole_length = length_of(self.loader)
        self.whole = min(length, limit)
        if self.own:
            return length, min(length, self.own_limit)
        return self.share.part_of(length), self.share.part_of(self.whole)

    def numbers(self) -> Iterator[int]:
        if self.own:
            yield from count(self.begun)
        yield from count(self.share.rank + self.begun * self.share.world, self.share.world)

    def runs_out_early(self, batches: int) -> bool:
        """Whether another process has one more batch than this one.

        Args:
            batches: How many this one had.
        """
        if self.own:
            return False
        needed = batches * self.share.world
        if self.counter is None:
            return needed < self.whole < math.inf
        while self.counter.count <= needed < self.whole and next(self.counter, _NONE) is not _NONE:
            pass
        return self.counter.count > needed

    def state_dict(self, consumed: int) -> dict[str, Any]:
        state = super().state_dict(consumed)
        return {**state, "shards": [[way == "own", way] for way in self.ways]}

    def __iter__(self) -> Iterator[Any]:
        if self.saved is None:
            self._agree_on_order()
            if "ask" in self.ways:
                self._ask()
        if self.total == 0 and self.whole > 0 and not self.own:
            self._draw_alone()
        return super().__iter__()

    def _agree_on_order(self) -> None:
        """Takes the first process's random state for the order of samples, where that is drawn."""
        drawn = [
            stream
            for stream, way in zip(self.streams, self.ways, strict=True)
            if isinstance(stream, (MapStream, WorkerStream))
            and (way == "indices" or (self.by_rows and way == "batches"))
            and not is_ordered(stream.loader)
        ]
        if not drawn:
            return
        mine = [Noted.take(stream.generators).plain() for stream in drawn]
        for stream, state in zip(drawn, self.strategy.broadcast(mine), strict=True):
            stream.agreed, stream.among_others = Noted.of(state), len(self.streams) > 1

    def _ask(self) -> None:
        """Finds out whether streams give the same batches everywhere, by their first ones."""
        asked = [position for position, way in enumerate(self.ways) if way == "ask"]
        opened = {position: super(SharedFeed, self)._open_one(position) for position in asked}
        self._first, found = compare_first(self.strategy, opened)
        for position, each in found.items():
            same = len(set(each)) == 1
            self.ways[position] = "batches" if same else "own"
            _say(self.streams[position].loader, same)
        self.own = "own" in self.ways
        self._length, self.total = self._extent(self.whole)
        self._divide()

    def _draw_alone(self) -> None:
        """Draws what opening a pass draws, where none of its batches is this process's."""
        batches = self._opened()
        if self.whole == self._whole_length:
            next(batches, None)
        if self.counter is None:  # else it is read yet to find out whether others have a batch
            self.close()

    def _open_one(self, position: int) -> Iterator[Any]:
        batches = self._first.pop(position, None)
        if batches is None:
            batches = super()._open_one(position)
        if self.by_rows or self.ways[position] != "batches":
            return batches
        stream = self.streams[position]
        # One that says itself where it is stands behind its last batch; another has been read to a round's end.
        counter = _Counting(
            batches, self._behind_last(stream.skip) if "part" in stream.saved else stream.skip * stream.stride
        )
        self.counter = None if self._combined else counter
        return self.share.of(counter, begun="part" in stream.saved and stream.skip > 0)

    def _opened(self) -> Iterator[Any]:
        batches = super()._opened()
        if not self.by_rows:
            return batches
        self.counter = _Counting(batches, self._behind_last(self.begun))
        return self.share.of(self.counter, begun=self.begun > 0)

    def _behind_last(self, begun: int) -> int:
        """How many batches of the pass have been read when so many are done here."""
        return (begun - 1) * self.share.world + self.share.rank + 1 if begun else 0


class _Counting:
    """Counts what is read of an iterator."""

    def __init__(self, batches: Iterator[Any], count: int) -> None:
        self.batches = batches
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self.batches)
        self.count += 1
        return batch


def _say(loader: Any, same: bool) -> None:
    kind = type(getattr(loader, "dataset", loader)).__name__
    if same:
        how = "gives the same batches on every process, so they are dealt out: batch i goes to process i modulo their"
        how += " number, and each reads over those of others"
    else:
        how = "gives other batches on every process, so it is taken to shard itself: each process reads all it gets"
    text = f"`{kind}` {how}. To say so yourself, set its attribute `shards_itself` to {not same}."
    if text not in _said:
        _said.add(text)
        rank_zero_info(text)
