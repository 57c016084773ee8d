"""A DataLoader with worker processes in a pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, IterableDataset

from fulmen.data.indices import Indices
from fulmen.data.stream import Noted, Stream, load_states, read_over, tell_of_reading, tell_of_workers
from fulmen.data.workers import can_carry, carrying, kept, signals_held
from fulmen.utilities import rng
from fulmen.utilities.combined_loader import stop_workers

# States of one worker that are kept: the loop is behind what has been read by two batches at most.
_KEPT = 4


class Workers:
    """What is known of the workers that read a loader.

    Attributes:
        born: The random state in which they were made, which gives their seeds.
        states: Packed random states by worker, where they are not what the seed gave: each after how many batches of
            the pass.
    """

    def __init__(self, born: Noted, states: dict[int, bytes]) -> None:
        self.born = born
        self.states: dict[int, deque[tuple[int, bytes]]] = {}
        for worker, state in states.items():
            self.take(worker, 0, state)

    def take(self, worker: int, count: int, state: bytes) -> None:
        """Takes note of a state."""
        self.states.setdefault(worker, deque(maxlen=_KEPT)).append((count, state))

    def after(self, count: int) -> dict[int, bytes]:
        """The states after so many batches, of workers that had left what their seed gives."""
        found = {}
        for worker, known in self.states.items():
            states = [state for number, state in known if number <= count]
            if states or len(known) == _KEPT:  # what was before is not known any more, after a step that failed
                found[worker] = states[-1] if states else known[0][1]
        return found


# Of loaders whose workers live on from pass to pass.
_alive: WeakKeyDictionary[Any, Workers] = WeakKeyDictionary()
# Of loaders whose workers lived on in an earlier run, and which have not been opened in this one.
_left: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


class WorkerStream(Stream):
    """A DataLoader with workers, whose batches bring the random state of the worker that made them.

    Args:
        loader: The loader.
        fast: See :class:`Stream`.
        inherited: For workers that live on from pass to pass: where an earlier run left its own between two passes.
    """

    def __init__(self, loader: Any, fast: bool, inherited: dict[str, Any] | None = None) -> None:
        super().__init__(loader, fast)
        self.inherited = _left.get(loader) if inherited is None else inherited
        self.indices: Indices | None = None
        self._unborn: Noted | None = None
        # Where an index is a sample, no empty batch could see to it that the right worker goes on.
        self.by_index = loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset)

    def _open(self) -> Iterator[Any]:
        loader = self.loader
        skip = self.skip if self.by_index else 0
        fillers = skip % loader.num_workers
        indices = None
        if self.by_index:
            remember = loader.num_workers * (loader.prefetch_factor or 2) + 8
            indices = Indices(loader, self, fillers, remember, self.share)
            load_states(indices.stateful, self.saved.get("indices"))
        states = self._first_states()
        if indices is not None:
            indices.notes = self.notes
        copied, self.indices, alive = carrying(loader, indices, states)
        self.workers = _alive[loader] if alive else self._make_workers(states)
        if alive:
            states = self.workers.after(2**63)
            self.workers = _alive[loader] = Workers(self.workers.born, states)
        self.states_opened = states
        with signals_held(copied):
            self.iterator = iter(copied)
        self._end_birth()
        for _ in range(fillers):
            next(self.iterator)
        batches = self._unpacked(self.iterator, skip)
        if self.skip and not self.by_index:
            tell_of_reading(loader)
            read_over(batches, self.skip * self.stride)
        return batches

    def _unpacked(self, iterator: Iterator[Any], count: int) -> Iterator[Any]:
        take = self.workers.take
        for data, worker, state in iterator:
            count += 1
            if state is not None:
                take(worker, count, state)
            yield data

    def _first_states(self) -> dict[int, bytes]:
        """The random states that new workers begin with, where it is not what their seed gives."""
        saved = self.saved or self.inherited or {}
        before, now = saved.get("workers", 0), self.loader.num_workers
        if saved and before != now:
            if self.saved and saved.get("drew"):
                tell_of_workers(before, now)
            return {}
        known = saved.get("states_opened" if self.saved and not self.by_index else "states") or {}
        return {int(worker): rng.pack(rng.HostRng.of(state)) for worker, state in known.items()}

    def _make_workers(self, states: dict[int, bytes]) -> Workers:
        """Sees to it that the seeds of new workers are those of the run that they go on for."""
        born = (self.saved or self.inherited or {}).get("born")
        self.inherited = None
        _left.pop(self.loader, None)
        if born:
            self._unborn = Noted.take(self.generators)
            Noted.of(born).put(self.generators)
        workers = Workers(Noted.take(self.generators), states)
        if self.loader.persistent_workers:
            _alive[self.loader] = workers
        return workers

    def leave(self, saved: dict[str, Any]) -> None:
        """Leaves to the next pass what workers that live on had come to at the end of one that is not opened again.

        Args:
            saved: What :meth:`state_dict` gave after its last batch.
        """
        if saved.get("born"):
            _left[self.loader] = _inheritance(saved["workers"], saved["states"], saved["born"])

    def _end_birth(self) -> None:
        if self._unborn is not None:
            self._unborn.put(self.generators)
            self._unborn = None

    def begin(self) -> int:
        self._end_birth()
        return super().begin()

    def _put_back(self, present: Noted) -> None:
        # Indices are drawn ahead: the loader's own generators have to stay where that has brought them.
        present.host.put()

    def state_dict(self, place: dict[str, Any]) -> dict[str, Any]:
        states = self.workers.after(place["count"] * self.stride)
        found = {**super().state_dict(place), "drew": bool(states), **self._of_workers(states)}
        if self.indices is not None:
            found["indices"] = self.indices.states_after(place["count"])
        if self.states_opened and not self.by_index:
            found["states_opened"] = _plain(self.states_opened)
        return found

    def _of_workers(self, states: dict[int, bytes]) -> dict[str, Any]:
        return {"states": _plain(states), "born": self.workers.born.plain() if self.loader.persistent_workers else None}


def _plain(states: dict[int, bytes]) -> dict[str, Any]:
    return {str(worker): rng.unpacked(state).plain() for worker, state in states.items()}


def inheritance_of(loader: Any) -> dict[str, Any] | None:
    """What is to be known between two passes of workers that live on; None where there are none."""
    try:
        workers = _alive.get(loader)
        left = _left.get(loader)
    except TypeError:  # not everything that is read can be kept by weak reference
        return None
    if workers is None:
        return left
    return _inheritance(loader.num_workers, _plain(workers.after(2**63)), workers.born.plain())


def _inheritance(workers: int, states: dict[str, Any], born: dict[str, Any]) -> dict[str, Any]:
    return {"workers": workers, "states": states, "born": born}


def release(loader: Any) -> None:
    """Ends the workers that a loader, or the copy of it that was read, keeps between passes."""
    stop_workers(loader)
    try:
        _alive.pop(loader, None)
        _left.pop(loader, None)
        copied = kept.pop(loader, None)
    except TypeError:  # not everything that is read can be kept by weak reference
        return
    if copied is not None:
        stop_workers(copied)


def has_kept_workers(loader: Any) -> bool:
    """Whether workers of a loader live on between passes."""
    return getattr(loader, "_iterator", None) is not None or inheritance_of(loader) is not None


def carries(loader: Any) -> bool:
    """Whether a loader can be read in this way."""
    return isinstance(loader, DataLoader) and loader.num_workers > 0 and can_carry(loader)
