"""One pass over a loader, for a loop."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from typing import Any
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.data.memory import fast_iterator
from fulmen.data.plain import direct_iterator
from fulmen.data.transfer import prefetch
from fulmen.utilities.combined_loader import CombinedLoader, length_of, open_once


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

    Attributes:
        total: The number of batches: the loader's length or the limit, whichever is less. Infinity where there is
            neither, until the end is seen, which is before the last batch is handed out; so ``index + 1 == feed.total``
            always tells the last batch. A loader that gives fewer batches than it says, or than `limit` without saying
            anything, ends earlier.
    """

    def __init__(
        self,
        loader: Any,
        limit: int | float = math.inf,
        *,
        device: torch.device | None = None,
        fast: bool = True,
    ) -> None:
        self.loader = loader
        self.device = device
        self.fast = fast
        self._length = length_of(loader)
        self._with_workers: WeakSet[Any] = WeakSet()
        self.total: int | float = min(self._length, limit)

    def __iter__(self) -> Iterator[Any]:
        if self.total == 0:
            return iter(())
        batches = self._opened()
        if self.total != math.inf:
            batches = self._limited(batches, int(self.total))
        if self.device is not None:
            batches = prefetch(batches, self.device)
        return self._counted(batches) if self.total == math.inf else batches

    def close(self) -> None:
        """Ends the worker processes of a pass that is not read to its end, except those that the loader keeps."""
        for iterator in list(self._with_workers):
            iterator._shutdown_workers()
        self._with_workers.clear()

    def _opened(self) -> Iterator[Any]:
        if type(self.loader) is CombinedLoader:
            return self.loader.rows(self._open_one)
        if isinstance(self.loader, CombinedLoader):
            return map(itemgetter(0), self.loader)
        return self._open_one(self.loader)

    def _open_one(self, loader: Any) -> Iterator[Any]:
        if not isinstance(loader, DataLoader):
            return open_once(loader)
        if loader.num_workers == 0:
            known = (fast_iterator(loader) or direct_iterator(loader)) if self.fast else None
            return known or open_once(loader)
        iterator = iter(loader)
        # Dropping the last reference to the iterator ends its workers too, but an exception's traceback may hold one.
        if hasattr(iterator, "_shutdown_workers") and not loader.persistent_workers:
            self._with_workers.add(iterator)
        return iterator

    def _limited(self, batches: Iterator[Any], total: int) -> Iterator[Any]:
        limited = itertools.islice(batches, total)
        if total < self._length or not isinstance(self.loader, DataLoader):
            return limited
        if isinstance(self.loader.dataset, IterableDataset):
            return limited
        # `for batch in loader` asks once more after the last batch, and a shuffling sampler with a generator of its own
        # draws from it then. Without that draw the next epoch's order would be another than in a hand-written loop.
        return itertools.chain(limited, _ended(batches))

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        ready = deque(itertools.islice(batches, 1))
        count = 0
        while ready:
            ready.extend(itertools.islice(batches, 1))
            count += 1
            if len(ready) == 1:
                self.total = count
            yield ready.popleft()
        self.total = count


def _ended(batches: Iterator[Any]) -> Iterator[Any]:
    next(batches, None)
    yield from ()
