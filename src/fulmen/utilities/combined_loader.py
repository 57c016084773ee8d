"""Several loaders read as one."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from fulmen.utilities.exceptions import MisconfigurationException

# Opens a pass over the loader at a position.
Opener = Callable[[int], Iterator[Any]]
Item = tuple[Any, int, int]

_NESTS = (dict, OrderedDict, defaultdict, list, tuple, deque)


def length_of(loader: Any) -> int | float:
    """The number of batches a loader says it has.

    Args:
        loader: Any iterable.

    Returns:
        Its length, or infinity where it has none. A ``__len__`` that raises TypeError or NotImplementedError counts as
        none: that is how a `DataLoader` over an iterable dataset without a length answers.
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return math.inf


def open_once(loader: Any) -> Iterator[Any]:
    """Opens a pass over a loader that may be handed to `zip` and the like.

    These ask an iterator for its iterator once more, and an object that is its own iterator would start anew then.
    """
    return itertools.islice(loader, None)


class CombinedLoader(Iterable[Item]):
    """Reads several loaders as one.

    Iterating gives ``(batch, batch_idx, dataloader_idx)``. In every mode but ``"sequential"`` a batch has the shape of
    `iterables` with one batch of each loader in the loader's place, and ``dataloader_idx`` is 0.

    Args:
        iterables: A loader, or a nest of them in lists, tuples, named tuples, dicts and deques.
        mode: ``"min_size"`` ends with the shortest loader, ``"max_size_cycle"`` ends with the longest and starts the
            others again as often as it takes, ``"max_size"`` ends with the longest and gives None for those that have
            ended, ``"sequential"`` reads one loader after the other.

    Raises:
        MisconfigurationException: If there is no such mode.

    Example:
        >>> for batch, batch_idx, dataloader_idx in CombinedLoader({"a": range(3), "b": range(2)}, "max_size"):
        ...     print(batch)
        {'a': 0, 'b': 0}
        {'a': 1, 'b': 1}
        {'a': 2, 'b': None}
    """

    def __init__(
        self,
        iterables: Any,
        mode: Literal["min_size", "max_size_cycle", "max_size", "sequential"] = "min_size",
    ) -> None:
        if mode not in _LENGTHS:
            raise MisconfigurationException(
                f"`CombinedLoader` has the modes {', '.join(map(repr, _LENGTHS))}.",
                got=f"mode={mode!r}",
                fix="Pass one of them, for example `CombinedLoader(loaders, mode='max_size_cycle')`.",
            )
        self._iterables = iterables
        self._mode = mode
        self._flattened = _flatten(iterables)
        self._shape = _packer(iterables)(itertools.repeat(()))
        self._limits: list[int | float] | None = None
        self._iterator: Iterator[Item] | None = None

    @property
    def mode(self) -> str:
        """How the loaders are put together."""
        return self._mode

    @property
    def iterables(self) -> Any:
        """The loaders in the nest in which they were given."""
        return self._iterables

    @property
    def flattened(self) -> list[Any]:
        """The loaders in one list; a list of the same length may be assigned."""
        return self._flattened

    @flattened.setter
    def flattened(self, flattened: list[Any]) -> None:
        if len(flattened) != len(self._flattened):
            raise MisconfigurationException(
                f"`flattened` must keep its length of {len(self._flattened)}.",
                got=f"a list of {len(flattened)}",
                fix="Make a new `CombinedLoader` to change the number of loaders.",
            )
        self._flattened = list(flattened)
        self._iterables = _packer(self._shape)(iter(self._flattened))

    @property
    def limits(self) -> list[int | float] | None:
        """The most batches that are read of each loader, or None.

        One number may be assigned for all of them. The mode ``"sequential"`` stops reading a loader there; in the
        other modes the limits shorten ``len()`` alone.
        """
        return self._limits

    @limits.setter
    def limits(self, limits: int | float | list[int | float] | None) -> None:
        if isinstance(limits, (int, float)):
            limits = [limits] * len(self._flattened)
        elif limits is not None and len(limits) != len(self._flattened):
            raise MisconfigurationException(
                f"`limits` must be one number, or one for each of the {len(self._flattened)} loaders.",
                got=limits,
                fix=f"Assign a list of {len(self._flattened)} numbers, or a single one.",
            )
        self._limits = limits

    @property
    def sampler(self) -> Any:
        """The loaders' samplers, in the nest of the loaders; None for a loader that has none."""
        return self._attribute("sampler")

    @property
    def batch_sampler(self) -> Any:
        """The loaders' batch samplers, in the nest of the loaders; None for a loader that has none."""
        return self._attribute("batch_sampler")

    def _attribute(self, name: str) -> Any:
        return _packer(self._shape)(getattr(loader, name, None) for loader in self._flattened)

    def rows(self, opener: Opener | None = None, finished: Iterable[int] = ()) -> Iterator[Any]:
        """One pass that gives the batches alone and is independent of `iter(self)`.

        Args:
            opener: Opens a pass over one loader, given its position in :attr:`flattened`; what it gives must return
                itself from ``iter``.
            finished: Under ``"max_size_cycle"``, the positions of loaders that have been read to their end before.

        Returns:
            The batches; of the mode ``"sequential"``, one loader's after the other's.
        """
        opener = opener or self._open
        if self._mode == "sequential":
            return (batch for batch, _, _ in self._in_turn(opener))
        positions = range(len(self._flattened))
        if self._mode == "max_size_cycle":
            found = _max_size_cycle(positions, opener, finished)
        else:
            found = _ROWS[self._mode](positions, opener)
        return map(_packer(self._shape), map(iter, found))

    def _open(self, position: int) -> Iterator[Any]:
        return open_once(self._flattened[position])

    def _in_turn(self, opener: Opener) -> Iterator[Item]:
        limits = self._limits or [math.inf] * len(self._flattened)
        first = opener(0)

        def items() -> Iterator[Item]:
            for position, limit in enumerate(limits):
                batches = first if position == 0 else opener(position)
                stop = None if limit == math.inf else math.ceil(limit)
                for index, batch in enumerate(itertools.islice(batches, stop)):
                    yield batch, index, position

        return items()

    def reset(self) -> None:
        """Drops the pass that is under way, and ends workers that loaders keep between passes."""
        self._iterator = None
        for loader in self._flattened:
            stop_workers(loader)

    def __iter__(self) -> CombinedLoader:
        self._iterator = None
        if self._mode == "sequential":
            self._iterator = self._in_turn(self._open)
        else:
            self._iterator = zip(self.rows(), itertools.count(), itertools.repeat(0))
        return self

    def __next__(self) -> Item:
        if self._iterator is None:
            raise MisconfigurationException(
                "`next(combined_loader)` needs a pass that is under way.",
                fix="Call `iter(combined_loader)` first, or write `for batch, batch_idx, dataloader_idx in ...`.",
            )
        return next(self._iterator)

    def __len__(self) -> int:
        """The number of batches.

        Raises:
            TypeError: If a loader that decides it has no length.
        """
        limits = self._limits or [math.inf] * len(self._flattened)
        lengths = [min(length_of(loader), limit) for loader, limit in zip(self._flattened, limits, strict=True)]
        length = _LENGTHS[self._mode](lengths)
        if length == math.inf:
            raise TypeError(f"a loader of this CombinedLoader(mode={self._mode!r}) has no length")
        return int(length)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_iterator": None}


def stop_workers(loader: Any) -> None:
    """Ends the worker processes that a loader with `persistent_workers` keeps between passes."""
    iterator = getattr(loader, "_iterator", None)
    shutdown = getattr(iterator, "_shutdown_workers", None)
    if callable(shutdown):
        shutdown()
        loader._iterator = None


def _max_size_cycle(positions: range, opener: Opener, finished: Iterable[int]) -> Iterator[tuple[Any, ...]]:
    iterators = [opener(position) for position in positions]
    unfinished = set(positions) - set(finished)

    def following(position: int) -> Any:
        try:
            return next(iterators[position])
        except StopIteration:
            unfinished.discard(position)
            if not unfinished:
                raise
        iterators[position] = opener(position)
        return next(iterators[position])

    def rows() -> Iterator[tuple[Any, ...]]:
        while True:
            row = []
            for position in positions:
                try:
                    row.append(following(position))
                except StopIteration:
                    return
            yield tuple(row)

    return rows()


_ROWS: dict[str, Callable[[range, Opener], Iterator[tuple[Any, ...]]]] = {
    "min_size": lambda positions, opener: zip(*map(opener, positions), strict=False),
    "max_size": lambda positions, opener: itertools.zip_longest(*map(opener, positions)),
}
_LENGTHS: dict[str, Callable[[list[int | float]], int | float]] = {
    "min_size": min,
    "max_size_cycle": max,
    "max_size": max,
    "sequential": sum,
}


def _is_source(value: object) -> bool:
    return (hasattr(value, "__iter__") or hasattr(value, "__getitem__")) and not isinstance(value, (str, bytes))


def _children(nest: Any) -> list[Any] | None:
    # A list of numbers is a loader that gives numbers; a list of lists is a nest of loaders.
    if type(nest) not in _NESTS and not (isinstance(nest, tuple) and hasattr(nest, "_make")):
        return None
    children = list(nest.values()) if isinstance(nest, dict) else list(nest)
    return children if any(map(_is_source, children)) else None


def _flatten(nest: Any) -> list[Any]:
    children = _children(nest)
    if children is None:
        return [nest]
    return [leaf for child in children for leaf in _flatten(child)]


def _packer(nest: Any) -> Callable[[Iterator[Any]], Any]:
    """A function that builds the nest anew around the values that an iterator gives in place of its leaves."""
    children = _children(nest)
    if children is None:
        return next
    parts = [_packer(child) for child in children]
    build = _builder(nest)
    return lambda leaves: build([part(leaves) for part in parts])


def _builder(nest: Any) -> Callable[[list[Any]], Any]:
    if isinstance(nest, dict):
        keys, empty = list(nest), nest.copy()
        empty.clear()

        def fill(values: list[Any]) -> Any:
            filled = empty.copy()
            filled.update(zip(keys, values, strict=True))
            return filled

        return fill
    if isinstance(nest, deque):
        return lambda values: deque(values, nest.maxlen)
    if isinstance(nest, list):
        return lambda values: values
    return getattr(type(nest), "_make", tuple)
