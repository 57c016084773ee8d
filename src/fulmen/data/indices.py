"""The indices of a loader's samples, from a place in a pass: no sample is loaded to get there."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from types import GeneratorType
from typing import Any, Protocol

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from fulmen.data.distributed import SharedSampler
from fulmen.data.parts import index_parts
from fulmen.data.sharding import Share, inner_sampler
from fulmen.utilities.rank_zero import warn_once

# Their order depends on their generator alone, so drawing it again is sure to give the same.
_KNOWN = (
    SequentialSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    DistributedSampler,
    SharedSampler,
)


_END = object()


class Place(Protocol):
    """Where a pass begins."""

    @property
    def is_agreed(self) -> bool:
        """Whether the order of samples is drawn with a random state that is not the present one."""

    def begin(self) -> int:
        """Called when the first indices of a pass are asked for; returns how many batches to leave out."""

    def done(self) -> None:
        """Called when they have been left out."""


class Indices:
    """What a loader's sampler gives, batch by batch; it takes the place of the sampler.

    Args:
        loader: A DataLoader over map-style data.
        place: Where the pass begins.
        fillers: Empty batches that come first in a pass that leaves batches out; they bring those that follow to the
            workers that would have got them.
        remember: How many states of samplers that have one are kept, for batches that were asked for ahead of time.
        share: Which batches are given; None for all.

    Attributes:
        notes: Where somebody wants to know which samples a batch is made of: the indices of batches that were asked
            for and not yet handed out. They are handed out in this order.
    """

    notes: deque[Any] | None = None

    def __init__(
        self, loader: DataLoader[Any], place: Place, fillers: int = 0, remember: int = 0, share: Share | None = None
    ) -> None:
        self.sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        self.place = place
        self.fillers = fillers
        self.share = share
        self.stateful = index_parts(loader)
        self.states: deque[tuple[int, list[Any]]] = deque(maxlen=remember or None)
        self.remembers = bool(remember and self.stateful)

    def __len__(self) -> int:
        share = self.share
        return int(len(self.sampler) if share is None else share.part_of(len(self.sampler)))

    def __iter__(self) -> Iterator[Any]:
        # Asked for now: there are samplers that draw when they are asked, and not when they give their first index.
        sampler = self.sampler
        return self._drawn(None if type(sampler) is BatchSampler else iter(sampler))

    def _drawn(self, batches: Iterator[Any] | None) -> Iterator[Any]:
        for _ in range(self.fillers):
            yield []
        self.fillers = 0
        skip, share = self.place.begin(), self.share
        sampler = self.sampler
        read = skip if share is None else skip * share.world
        if self.stateful:  # the samplers know where they are
            batches = iter(sampler)
        elif batches is None:
            batches = _batches_after(sampler, read)
        elif skip:
            _tell(sampler)
            _leave_out(batches, read)
        if not self.stateful and (share is not None or self.place.is_agreed):
            batches = _drawn_now(sampler, batches, None if share is None or share.cut is None else share.cut - read)
        if share is not None:
            # samplers that know where they are stand behind a batch of this process's
            batches = share.of(batches, bool(skip and self.stateful))
        self.place.done()
        if self.remembers:
            batches = self._remembering(batches, skip)
        if self.notes is not None:
            batches = self._noting(batches, self.notes)
        if isinstance(batches, GeneratorType):
            yield from batches
        else:  # `yield from` would ask it for its iterator once more, and there are those that shuffle then
            while (batch := next(batches, _END)) is not _END:
                yield batch

    def _remembering(self, batches: Iterator[Any], count: int) -> Iterator[Any]:
        while (batch := next(batches, _END)) is not _END:
            count += 1
            self.states.append((count, [part.state_dict() for part in self.stateful]))
            yield batch

    @staticmethod
    def _noting(batches: Iterator[Any], notes: deque[Any]) -> Iterator[Any]:
        while (batch := next(batches, _END)) is not _END:
            notes.append(list(batch) if type(batch) is list else batch)  # some samplers fill one list anew
            yield batch

    def states_after(self, count: int) -> list[Any] | None:
        """The samplers' states after so many batches of the pass; None where nothing is known of them."""
        if not self.remembers:
            return [part.state_dict() for part in self.stateful] if self.stateful else None
        known = [states for number, states in self.states if number <= count]
        return known[-1] if known else None


class _Given:
    """A sampler that goes on with an iterator that has begun."""

    def __init__(self, indices: Iterator[Any]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[Any]:
        return self.indices


def _batches_after(sampler: BatchSampler, skip: int) -> Iterator[Any]:
    if not skip:
        return iter(sampler)
    inner: Any = sampler.sampler
    if type(inner) not in _KNOWN:
        _tell(inner)
    indices: Iterator[Any]
    if type(inner) is SequentialSampler:
        indices = iter(range(min(skip * sampler.batch_size, len(inner)), len(inner)))
    elif type(inner) is RandomSampler:
        # the last one that was used is drawn now, and so all that was drawn for it, and nothing more
        indices = random_indices(inner, skip * sampler.batch_size - 1)
        _leave_out(indices, 1)
    else:
        indices = iter(inner)
        _leave_out(indices, skip * sampler.batch_size)
    return iter(BatchSampler(_Given(indices), sampler.batch_size, sampler.drop_last))


_DRAWN_AT_ONCE = 32  # by a RandomSampler with replacement
_LEFT_OUT_AT_ONCE = 2**20


def own_generator() -> torch.Generator:
    """The generator that a RandomSampler makes for itself, seeded by a draw from the default one."""
    generator = torch.Generator()
    generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
    return generator


def random_indices(sampler: RandomSampler, skip: int) -> Iterator[int]:
    """What a RandomSampler gives after its first indices, with the same draws, without making numbers of those.

    Args:
        sampler: The sampler.
        skip: How many to leave out.
    """
    count, total = len(sampler.data_source), sampler.num_samples
    generator = sampler.generator or own_generator()
    if sampler.replacement:
        left = skip - skip % _DRAWN_AT_ONCE
        for start in range(0, left, _LEFT_OUT_AT_ONCE):
            torch.randint(count, (min(_LEFT_OUT_AT_ONCE, left - start),), dtype=torch.int64, generator=generator)
        for start in range(left, total, _DRAWN_AT_ONCE):
            drawn = torch.randint(count, (min(_DRAWN_AT_ONCE, total - start),), dtype=torch.int64, generator=generator)
            yield from drawn[max(skip - start, 0) :].tolist()
        return
    passes = total // count
    for number in range(passes + 1):  # a last permutation is drawn also where nothing of it is used
        order = torch.randperm(count, generator=generator)
        first, last = number * count, (number + 1) * count if number < passes else total
        if skip < last or number == passes:
            yield from order[max(skip - first, 0) : last - first].tolist()


def _drawn_now(sampler: Any, batches: Iterator[Any], count: int | None) -> Iterator[Any]:
    """Batches whose order does not depend on what is drawn at random later, by whomever."""
    inner = sampler.sampler if type(sampler) is BatchSampler else sampler
    if type(inner) in _KNOWN:  # they draw what they need of the default generator before they give their first index
        return itertools.chain(list(itertools.islice(batches, 1)), batches)
    return iter(list(batches if count is None else itertools.islice(batches, max(count, 0))))


def draw_as_usual(loader: DataLoader[Any]) -> None:
    """Draws from the default generator what the order of a loader's samples takes of it, as far as that is known."""
    inner = inner_sampler(loader)
    if type(inner) in _KNOWN and getattr(inner, "generator", None) is None:
        next(iter(inner), None)


def _leave_out(iterator: Iterator[Any], count: int) -> None:
    deque(itertools.islice(iterator, count), maxlen=0)


def _tell(sampler: Any) -> None:
    if type(sampler) not in _KNOWN and not getattr(sampler, "is_list", False):
        warn_once(
            f"To go on in the middle of an epoch, `{type(sampler).__name__}` draws its indices again and those that "
            "were used are left out. That gives the same order if the sampler depends on nothing but the random state "
            "that its pass began with. If there is more to it, give it `state_dict` and `load_state_dict`."
        )
