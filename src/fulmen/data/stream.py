"""One loader in a pass: opened at its start, or at the place where an earlier run left it."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader

from fulmen.data.indices import Indices, draw_as_usual
from fulmen.data.memory import fast_iterator
from fulmen.data.parts import generators_of, index_parts
from fulmen.data.plain import Fetch, direct_iterator, draw_base_seed
from fulmen.data.sharding import Share
from fulmen.utilities import rng
from fulmen.utilities.combined_loader import open_once
from fulmen.utilities.rank_zero import warn_once

_END = object()


class Noted(NamedTuple):
    """The random state of the host and of a loader's own generators."""

    host: rng.HostRng
    own: list[torch.Tensor]

    @classmethod
    def take(cls, generators: list[torch.Generator]) -> Noted:
        """The present state."""
        return cls(rng.note(), rng.note_generators(generators))

    def put(self, generators: list[torch.Generator]) -> None:
        """Makes it the present state."""
        self.host.put()
        rng.put_generators(generators, self.own)

    def plain(self) -> dict[str, Any]:
        """The state in plain values."""
        return {"host": self.host.plain(), "own": self.own}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Noted:
        """What :meth:`plain` made."""
        return cls(rng.HostRng.of(plain["host"]), list(plain["own"]))


class Stream:
    """A loader that is read in this process. The base serves every iterable: it is read again up to its place.

    Args:
        loader: The loader.
        fast: Whether plain loaders are read by the faster ways.

    Attributes:
        opens: How often it was opened in this pass.
        count: Batches read since, where somebody counts.
        notes: Where somebody wants to know them: the indices of batches that have not been handed out yet. Set before
            the stream is opened.
        share: Which batches are read, where indices are drawn for all of them; the others are not loaded.
        stride: How many batches of the loader are read for one that is counted, where those of others are read over.
        agreed: The random state that the order of samples is drawn with, on every process.
        among_others: Whether others are opened before this one's samples are drawn.
    """

    notes: deque[Any] | None = None
    share: Share | None = None
    stride = 1
    agreed: Noted | None = None
    among_others = False

    def __init__(self, loader: Any, fast: bool) -> None:
        self.loader = loader
        self.fast = fast
        self.generators = generators_of(loader)
        self.opens = self.count = 0
        self.opened: Noted | None = None
        self.first: Noted | None = None
        self._present: Noted | None = None
        self.skip = 0
        self.saved: dict[str, Any] = {}
        self.iterator: Any = None

    def start(self) -> Iterator[Any]:
        """Opens the loader at its start."""
        self.opens += 1
        self.count = self.skip = 0
        self.opened, self.first, self.saved = Noted.take(self.generators), None, {}
        return self._open() if self.agreed is None else self._open_as_agreed(self.agreed)

    def _open_as_agreed(self, agreed: Noted) -> Iterator[Any]:
        """Opens a loader whose order is drawn with another random state; this process's own goes its usual way."""
        if self.opens == 1:  # from there on they go on together
            rng.put_generators(self.generators, agreed.own)
        present = rng.note()
        if self.opens == 1 and not self.among_others and rng.same(present, agreed.host):
            return self._open()
        agreed.host.put()
        torch.rand(self.opens - 1)  # opened anew within a pass, it has another order
        self.opened = Noted.take(self.generators)
        batches = self._open()
        drawn = self.first is not None  # workers are given their first indices at once
        self.first = self.first or Noted.take(self.generators)
        present.put()
        if self.loader.generator is None:
            draw_base_seed(self.loader)
        if drawn:
            draw_as_usual(self.loader)
        return batches

    def resume(self, saved: dict[str, Any]) -> Iterator[Any]:
        """Opens the loader where an earlier run left it; the present random state stays what it is.

        Args:
            saved: What :meth:`state_dict` gave then.
        """
        present = Noted.take(self.generators)
        self.saved = saved
        self.opens, self.count, self.skip = saved["opens"], saved["count"], saved["count"]
        self.opened = Noted.of(saved["opened"]) if saved["opened"] else present
        self.first = Noted.of(saved["first"]) if saved["first"] else None
        self.opened.put(self.generators)
        batches = self._open()
        self._put_back(present)
        return batches

    def left(self, saved: dict[str, Any], back: bool = True) -> list[Any]:
        """The indices of the batches that were left of a pass over map-style data; nothing is loaded.

        Args:
            saved: What :meth:`state_dict` gave.
            back: Whether samplers that know where they are go back to where they were.
        """
        present = Noted.take(self.generators)
        self.skip = saved["count"]
        Noted.of(saved["opened"]).put(self.generators)
        self.first = Noted.of(saved["first"]) if saved["first"] else None
        indices = Indices(self.loader, self)
        states = [part.state_dict() for part in indices.stateful]
        load_states(indices.stateful, saved.get("indices"))
        found = [list(one) if type(one) is list else one for one in indices]
        if back:
            load_states(indices.stateful, states)
        present.put(self.generators)
        self._present = None
        return found

    @property
    def stateful(self) -> list[Any]:
        """The parts that say themselves where they are."""
        return index_parts(self.loader)

    def end(self, saved: dict[str, Any]) -> None:
        """Ends a pass of which nothing is left, for parts that go from its end to the start of the next by themselves.

        Args:
            saved: What :meth:`state_dict` gave after the last batch.
        """
        present = Noted.take(self.generators)
        batches = self.resume(saved)
        if next(batches, _END) is not _END:  # they had gone there already
            states = [saved["part"]] if "part" in saved else saved.get("indices")
            load_states(self.stateful, states)
        self.close()
        present.put(self.generators)

    def _put_back(self, present: Noted) -> None:
        present.put(self.generators)

    def state_dict(self, place: dict[str, Any]) -> dict[str, Any]:
        """Where the loader is in its pass.

        Args:
            place: What :meth:`place` gave when it was there.
        """
        assert self.opened is not None
        return {
            "opened": self.opened.plain(),
            "first": self.first.plain() if self.first else None,
            "workers": getattr(self.loader, "num_workers", 0) or 0,
            **place,
        }

    def place(self) -> dict[str, Any]:
        """Where it is now, as far as that has to be noted before it is read on."""
        return {"opens": self.opens, "count": self.count}

    def _open(self) -> Iterator[Any]:
        if getattr(self.loader, "num_workers", 0) and isinstance(self.loader, DataLoader):
            self.iterator = iter(self.loader)
            batches: Iterator[Any] = self.iterator
        else:
            batches = open_once(self.loader)
        if self.skip:
            if not isinstance(self.loader, (list, tuple, range)):
                tell_of_reading(self.loader)
            read_over(batches, self.skip * self.stride)
        return batches

    def close(self) -> None:
        """Ends the worker processes of a pass that is not read to its end, except those that the loader keeps."""
        # Dropping the last reference to the iterator ends them too, but an exception's traceback may hold one.
        if hasattr(self.iterator, "_shutdown_workers") and not self.loader.persistent_workers:
            self.iterator._shutdown_workers()

    # What a pass over map-style data calls; see `Indices`.

    @property
    def is_agreed(self) -> bool:
        """Whether the order of samples is drawn with a random state that is not the present one."""
        return self.agreed is not None

    def begin(self) -> int:
        """Notes the random state with which indices are drawn, or goes back to that of an earlier run."""
        if self.first is None:
            self.first = Noted.take(self.generators)
        else:
            self._present = Noted.take(self.generators)
            self.first.put(self.generators)
        return self.skip

    def done(self) -> None:
        """Goes back to the present random state."""
        if self._present is None:
            return
        if self.agreed is None:
            self._put_back(self._present)
        else:  # the loader's own generators go on together
            self._present.host.put()
            draw_as_usual(self.loader)
        self._present = None


_draws: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class MapStream(Stream):
    """A DataLoader over map-style data, without workers."""

    def _open(self) -> Iterator[Any]:
        loader = self.loader
        self.indices = Indices(loader, self, share=self.share)
        self.indices.notes = self.notes
        load_states(self.indices.stateful, self.saved.get("indices"))
        if self.fast:
            known = fast_iterator(loader, self.indices)
            if known is not None:
                _draws[loader] = False
                return known
            known = direct_iterator(loader, self.indices, None if loader in _draws else self._probe)
            if known is not None:
                return known
        return open_once(_with_indices(loader, self.indices))

    def _probe(self, fetch: Fetch) -> Fetch:
        """Finds out, at the first batch of a loader, whether its data set draws at random."""

        def first(index: Any) -> Any:
            before = rng.note()
            batch = fetch(index)
            _draws[self.loader] = not rng.same(before, rng.note())
            return batch

        return first

    def resume(self, saved: dict[str, Any]) -> Iterator[Any]:
        if saved["workers"] and saved.get("drew"):
            tell_of_workers(saved["workers"], 0)
        return super().resume(saved)

    def state_dict(self, place: dict[str, Any]) -> dict[str, Any]:
        return {**super().state_dict(place), "drew": _draws.get(self.loader, True)}

    def place(self) -> dict[str, Any]:
        return {**super().place(), "indices": self.indices.states_after(self.count)}


class StatefulStream(Stream):
    """A loader, or an iterable data set behind a plain one, that says itself where it is.

    Args:
        loader: The loader.
        fast: See :class:`Stream`.
        part: The loader or its data set.
        loaded: Whether it has been given the state that an earlier run ended a pass with.
    """

    def __init__(self, loader: Any, fast: bool, part: Any, loaded: bool = False) -> None:
        super().__init__(loader, fast)
        self.part = part
        self.loaded = loaded

    def start(self) -> Iterator[Any]:
        batches = super().start()
        return self._or_anew(batches) if self.loaded else batches

    def _or_anew(self, batches: Iterator[Any]) -> Iterator[Any]:
        """For those whose state stays at the end of a pass, and who begin another when they are opened without it."""
        self.loaded = False
        first = next(batches, _END)
        if first is not _END:
            yield first
        else:
            assert self.opened is not None
            self.opened.put(self.generators)
            batches = self._open()
        yield from batches

    @property
    def stateful(self) -> list[Any]:
        return [self.part]

    def _open(self) -> Iterator[Any]:
        if "part" in self.saved:
            self.part.load_state_dict(self.saved["part"])
        elif self.skip:
            return super()._open()
        return open_once(self.loader)

    def place(self) -> dict[str, Any]:
        return {**super().place(), "part": self.part.state_dict()}


def _with_indices(loader: DataLoader[Any], indices: Indices) -> DataLoader[Any]:
    copied = copy.copy(loader)
    copied.__dict__["sampler" if loader.batch_sampler is None else "batch_sampler"] = indices
    return copied


def load_states(parts: list[Any], states: Iterable[Any] | None) -> None:
    """Gives parts of a loader the states that they had, where those are known."""
    for part, state in zip(parts, states or (), strict=False):
        part.load_state_dict(state)


def read_over(batches: Iterator[Any], count: int) -> None:
    """Reads batches and throws them away."""
    deque(itertools.islice(batches, count), maxlen=0)


def tell_of_reading(loader: Any) -> None:
    """Warns of batches that are read to be thrown away."""
    warn_once(
        f"To go on in the middle of an epoch, the batches of `{type(loader).__name__}` that were used already are read "
        "again and thrown away, because it cannot say where it is. That takes as long as reading them. What to do: "
        "give it, or its iterable data set, `state_dict` and `load_state_dict`, or use torchdata's "
        "`StatefulDataLoader`."
    )


def tell_of_workers(before: int, now: int) -> None:
    """Warns of random numbers that cannot be the same, because others draw them now."""
    warn_once(
        f"The samples of the epoch that goes on are the same and in the same order, but the random numbers that the "
        f"data set draws are not: it was read by {before} workers and is read by {now} now. What to do: "
        f"`DataLoader(num_workers={before})` to have those, too."
    )
