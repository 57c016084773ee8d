"""Reading a DataLoader with worker processes so that it can be gone on with: each batch brings its worker's state.

The loader that is read is a copy of the user's, with another collate function (which adds the worker's random state
to a batch, where it changed), another ``worker_init_fn`` (which puts such a state back) and other indices.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from multiprocessing import resource_tracker
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader, get_worker_info

from fulmen.data.indices import Indices
from fulmen.utilities import rng

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Carried(NamedTuple):
    """A batch on its way from a worker.

    Attributes:
        data: The batch.
        worker: Who made it.
        state: The worker's random state after it, packed; None where it is the same as before.
    """

    data: Any
    worker: int
    state: bytes | None


class _Known:
    """In a worker: the random state that the main process knows of."""

    state: rng.HostRng | None = None


class Carrier:
    """A collate function that adds the worker's random state.

    Args:
        collate: The user's.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> Carried:
        if type(samples) is list and not samples:  # a filler, see `Indices`
            return Carried(None, -1, None)
        data = self.collate(samples)
        info = get_worker_info()
        state = rng.note()
        if _Known.state is not None and rng.same(_Known.state, state):
            return Carried(data, info.id if info else 0, None)
        _Known.state = state
        return Carried(data, info.id if info else 0, rng.pack(state))


class WorkerStart:
    """A ``worker_init_fn`` that also puts back the worker's random state, and keeps signals for the run away from it.

    Args:
        init: The user's.
        states: Packed states by worker.
    """

    def __init__(self, init: Callable[[int], Any] | None, states: dict[int, bytes]) -> None:
        self.init = init
        self.states = states

    def __call__(self, worker: int) -> None:
        _leave_group()
        if self.init is not None:
            self.init(worker)
        if worker in self.states:
            rng.unpacked(self.states[worker]).put()
        _Known.state = rng.note()


def _leave_group() -> None:
    """Ctrl-C and a signal to the whole group are for the main process, which finishes its step and saves.

    A worker that died of one would end the run before that. Workers end when the main process does, as always.
    """
    if not hasattr(os, "setpgid") or not hasattr(signal, "sigtimedwait"):
        return
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    while signal.sigtimedwait(_SIGNALS, 0) is not None:  # those that came between its start and here
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextlib.contextmanager
def signals_held(loader: DataLoader[Any]) -> Generator[None]:
    """Signals that stop a run wait while workers start, which inherit that until they have left the group."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    context = loader.multiprocessing_context or multiprocessing
    if context.get_start_method() != "fork":
        resource_tracker.ensure_running()  # where it is started with the workers, it lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def can_carry(loader: DataLoader[Any]) -> bool:
    """Whether a loader opens its passes the way that DataLoader does."""
    kind = type(loader)
    return kind.__iter__ is DataLoader.__iter__ and kind._get_iterator is DataLoader._get_iterator


# The copies of loaders whose workers live on from pass to pass.
kept: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def carrying(
    loader: DataLoader[Any], indices: Indices | None, states: dict[int, bytes]
) -> tuple[DataLoader[Any], Indices | None, bool]:
    """The copy of a loader whose batches come as :class:`Carried`.

    Args:
        loader: The user's.
        indices: Takes the place of its batch sampler, or of its sampler where it makes no batches; None leaves it.
        states: Packed random states, by worker, that workers start with.

    Returns:
        The copy, the indices that it reads, and whether its workers live on from an earlier pass.
    """
    place = "sampler" if loader.batch_sampler is None else "batch_sampler"
    known = kept.get(loader)
    if known is not None and known._iterator is not None:
        if indices is None:
            return known, None, True
        read: Indices = getattr(known, place)
        read.place, read.fillers, read.notes = indices.place, indices.fillers, indices.notes
        read.share = indices.share
        return known, read, True
    copied = copy.copy(loader)
    changed = {
        "collate_fn": Carrier(loader.collate_fn),
        "worker_init_fn": WorkerStart(loader.worker_init_fn, states),
        "_iterator": None,
    }
    if indices is not None:
        changed[place] = indices
        if indices.notes is not None and hasattr(loader, "in_order"):  # torch below 2.6 knows no other order
            changed["in_order"] = True
    copied.__dict__.update(changed)  # DataLoader forbids to assign some of them
    if loader.persistent_workers:
        kept[loader] = copied
    return copied, indices, False
