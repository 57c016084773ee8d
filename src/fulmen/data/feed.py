"""One pass over a loader, for a loop."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.data.leftover import described, list_of, made_of, warn_of_another
from fulmen.data.parts import is_stateful
from fulmen.data.read_ahead import ReadAhead
from fulmen.data.stream import MapStream, Noted, StatefulStream, Stream
from fulmen.data.transfer import has_streams, prefetch
from fulmen.data.worker_stream import WorkerStream, carries
from fulmen.utilities.combined_loader import CombinedLoader, length_of


class Feed:
    """One pass over a loader: ``for batch in feed``.

    Iterating costs what the loader costs: ``iter(feed)`` gives the loader's own iterator where nothing has to be added.
    Batches come when they are asked for, except that one batch is read ahead of a loader that has no length (to know
    the last one) and for a device that copies beside its work.

    Args:
        loader: A loader, or a `CombinedLoader`, whose batches come without their indices.
        limit: The most batches to read.
        device: Where batches are moved to; None leaves them where they are. Batches that a user's hook will move are
            left to the loop, which calls the hook at its usual place.
        fast: Whether plain DataLoaders are read by the faster ways of :mod:`fulmen.data.memory` and
            :mod:`fulmen.data.plain`, which give the same batches.
        saved: What :meth:`state_dict` gave in an earlier run: the pass goes on there.
        inherited: For each single loader what ``inheritance_of`` gave in an earlier run.
        window: Batches to be able to go back by.

    Attributes:
        total: The number of batches: the loader's length or the limit, whichever is less. Infinity where there is
            neither, until the end is seen, which is before the last batch is handed out; so ``index + 1 == feed.total``
            always tells the last batch. A loader that gives fewer batches than it says, or than `limit` without saying
            anything, ends earlier.
        begun: The batches of the pass that an earlier run has used.
    """

    def __init__(
        self,
        loader: Any,
        limit: int | float = math.inf,
        *,
        device: torch.device | None = None,
        fast: bool = True,
        saved: dict[str, Any] | None = None,
        inherited: list[Any] | None = None,
        window: int = 1,
    ) -> None:
        self.loader = loader
        self.device = device
        self.fast = fast
        self.window = window
        # How many batches a single loader is ahead of the pass: it may hold no more than a rest of it.
        self.shift: int = saved.get("shift", 0) if saved else 0
        self._length, self.total = self._extent(limit)
        self._combined = type(loader) is CombinedLoader
        flat = loader.flattened if type(loader) is CombinedLoader else [loader]
        heirs = itertools.chain(inherited or [], itertools.repeat(None))
        self.streams = [_stream_of(one, fast, heir) for one, heir in zip(flat, heirs, strict=False)]
        self.saved = None if saved is None else self._fitting(saved)
        self.begun: int = self.saved["consumed"] if self.saved else 0
        self._ahead: ReadAhead | None = None

    def _extent(self, limit: int | float) -> tuple[int | float, int | float]:
        """The loader's length, and the number of batches that are read."""
        length = length_of(self.loader)
        return length, min(length - self.shift, limit)

    def numbers(self) -> Iterator[int]:
        """The numbers in the pass of the batches that are handed out, from the first on that is left."""
        return itertools.count(self.begun)

    def _fitting(self, saved: dict[str, Any]) -> dict[str, Any]:
        """What is known of an earlier pass, as far as the loader is still the same."""
        consumed = saved["consumed"]
        same_shape = len(saved["streams"]) == len(self.streams)
        length = saved.get("length", self._length)
        now = [made_of(stream.loader) for stream in self.streams]
        before = saved.get("made", now)
        # a data set that says itself where it is stands behind its samples, whatever batches are made of them
        others = [
            (was, one)
            for stream, was, one in zip(self.streams, before, now, strict=False)
            if was != one and (type(stream) is not StatefulStream or stream.part is stream.loader)
        ]
        if consumed and (not same_shape or length != self._length or others):
            was, one = others[0] if others else (None, None)
            warn_of_another(described(length, was), described(self._length, one), consumed)
        return saved if same_shape else skipping(consumed, self.loader)

    def __iter__(self) -> Iterator[Any]:
        if self.total == 0:
            return iter(())
        if self.saved and self.saved["ended"] and self._is_done_with():
            self.total = self.begun
            return iter(())
        batches = self._opened()
        depth = (self.total == math.inf) + (self.device is not None and has_streams(self.device))
        if depth or any(type(stream) is StatefulStream for stream in self.streams):
            pending = self.saved.get("pending") if self.saved else None
            self._ahead = ReadAhead(batches, self.streams, self.begun, depth + self.window, pending)
            batches = self._ahead
        if self.total != math.inf:
            batches = self._limited(batches, int(self.total), self.begun)
        if self.device is not None:
            batches = prefetch(batches, self.device)
        return self._counted(batches) if self.total == math.inf else batches

    def state_dict(self, consumed: int) -> dict[str, Any]:
        """Where the pass is, as the loop sees it: batches that were read ahead are read again.

        Args:
            consumed: How many batches of the pass the loop has done.

        Returns:
            Plain values and tensors.
        """
        if self.saved is not None and not any(stream.opens for stream in self.streams):
            return self.saved
        places: list[dict[str, Any]] | None = None
        pending: list[Noted] = []
        if self._ahead is not None:
            places, pending = self._ahead.at(consumed)
        if places is None:
            places = [stream.place() for stream in self.streams]
        if not self._combined:
            places[0]["count"] = consumed + self.shift if self.streams[0].opens else 0
        states = [
            stream.state_dict(place) if place["opens"] else None
            for stream, place in zip(self.streams, places, strict=True)
        ]
        state = {
            "consumed": consumed,
            "ended": consumed == self.total,
            "length": self._length,
            "total": None if self.total == math.inf else self.total,
            "streams": states,
            "pending": [noted.plain() for noted in pending],
            "made": [made_of(stream.loader) for stream in self.streams],
        }
        if self.shift and self.saved:
            state.update(shift=self.shift, pace=self.saved.get("pace"))
        lists = [list_of(stream.loader) if stream.opens < 2 else None for stream in self.streams]
        return {**state, "lists": lists} if any(lists) else state

    def note_indices(self) -> deque[Any] | None:
        """Takes note, from now on, of which samples batches are made of. To be called before the pass is opened.

        Returns:
            The indices of the batches that have not been handed out yet, as the loader's batch sampler gives them. None
            where they cannot be known: the data are iterable, the loader is no DataLoader or goes its own way, it makes
            no batches, or several loaders are read at a time.
        """
        stream = self.streams[0]
        if self._combined or not isinstance(stream, (MapStream, WorkerStream)):
            return None
        if stream.loader.batch_sampler is None or isinstance(stream.loader.dataset, IterableDataset):
            return None
        stream.notes = deque()
        return stream.notes

    def close(self) -> None:
        """Ends the worker processes of a pass that is not read to its end, except those that the loader keeps."""
        for stream in self.streams:
            stream.close()

    def _is_done_with(self) -> bool:
        """Ends a pass of which no batch is left, where that is not as simple as asking its loader for another."""
        assert self.saved is not None
        if not any(stream.stateful for stream in self.streams):
            if self.total == math.inf:
                for stream, state in zip(self.streams, self.saved["streams"], strict=True):
                    if isinstance(stream, WorkerStream) and state is not None:
                        stream.leave(state)
            # Without a length its end was seen before its last batch was handed out. And to read all of it again where
            # it has to be read would bring nothing.
            return self.total == math.inf or all(type(stream) is Stream for stream in self.streams)
        # Was it asked already, so that it stands at the start of a new pass? Then it has to stay there.
        for stream, state in zip(self.streams, self.saved["streams"], strict=True):
            ended = len(self.streams) == 1 or (state is not None and state["count"] == length_of(stream.loader))
            if stream.stateful and ended:
                stream.end(state)
        return True

    def _opened(self) -> Iterator[Any]:
        if isinstance(self.loader, CombinedLoader) and self._combined:
            saved = self.saved["streams"] if self.saved else []
            finished = [i for i, state in enumerate(saved) if state is not None and state["opens"] > 1]
            finished += self.saved.get("finished", []) if self.saved else []
            return self.loader.rows(self._open_counting, finished)
        batches = self._open_one(0)
        return map(itemgetter(0), batches) if isinstance(self.loader, CombinedLoader) else batches

    def _open_one(self, position: int) -> Iterator[Any]:
        stream = self.streams[position]
        saved = self.saved["streams"][position] if self.saved and not stream.opens else None
        return stream.start() if saved is None else stream.resume(saved)

    def _open_counting(self, position: int) -> Iterator[Any]:
        stream = self.streams[position]
        batches = self._open_one(position)

        def counting() -> Iterator[Any]:
            for batch in batches:
                stream.count += 1
                yield batch

        return counting()

    def _limited(self, batches: Iterator[Any], total: int, begun: int) -> Iterator[Any]:
        limited = itertools.islice(batches, max(total - begun, 0))
        if total + self.shift < self._length or not isinstance(self.loader, DataLoader):
            return limited
        if isinstance(self.loader.dataset, IterableDataset) or type(self.loader).__iter__ is not DataLoader.__iter__:
            return limited  # a loader of somebody's own may not end where its length says
        # `for batch in loader` asks once more after the last batch, and a shuffling sampler with a generator of its own
        # draws from it then. Without that draw the next epoch's order would be another than in a hand-written loop.
        return itertools.chain(limited, _ended(batches))

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        ready = deque(itertools.islice(batches, 1))
        count = self.begun
        while ready:
            ready.extend(itertools.islice(batches, 1))
            count += 1
            if len(ready) == 1:
                self.total = count
            yield ready.popleft()
        self.total = count


def skipping(batches: int, loader: Any) -> dict[str, Any]:
    """The place in a pass of which nothing is known but how many batches were used.

    Args:
        batches: How many.
        loader: The loader.

    Returns:
        What a :class:`Feed` takes as `saved`.
    """
    count = len(loader.flattened) if type(loader) is CombinedLoader else 1
    stream = {"opens": 1, "count": batches, "opened": None, "first": None, "workers": 0}
    return {"consumed": batches, "ended": False, "streams": [stream] * count, "pending": []}


def _stream_of(loader: Any, fast: bool, inherited: Any) -> Stream:
    if is_stateful(loader):
        return StatefulStream(loader, fast, loader, bool(inherited))
    if carries(loader):
        return WorkerStream(loader, fast, inherited)
    if isinstance(loader, DataLoader) and loader.num_workers == 0 and type(loader).__iter__ is DataLoader.__iter__:
        if not isinstance(loader.dataset, IterableDataset):
            return MapStream(loader, fast)
        if is_stateful(loader.dataset):
            return StatefulStream(loader, fast, loader.dataset, bool(inherited))
    return Stream(loader, fast)


def _ended(batches: Iterator[Any]) -> Iterator[Any]:
    next(batches, None)
    yield from ()
