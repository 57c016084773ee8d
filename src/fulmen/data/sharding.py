"""Which batches of a pass are this process's, where several evaluate or predict, or read a stream.

Batches are the same ones as in one process, with the same numbers: batch i goes to rank i mod world. None is padded,
none repeated.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from fulmen.data.parts import parts_of
from fulmen.strategies.exchange import Group, bytes_of, exchange

_NONE = object()
_DEPTH = 16  # an object may hold itself
Way = Literal["indices", "batches", "ask", "own"]


class Share(NamedTuple):
    """Every batch of a pass whose number is `rank` modulo `world`.

    Attributes:
        rank: This process's number.
        world: How many processes there are.
        cut: The batches of the pass, where it ends before its loader does.
    """

    rank: int
    world: int
    cut: int | None = None

    def part_of(self, total: int | float) -> int | float:
        """How many of so many batches are this process's."""
        return total if total == math.inf else max(math.ceil((total - self.rank) / self.world), 0)

    def of(self, batches: Iterable[Any], begun: bool = False) -> Iterator[Any]:
        """This process's batches.

        Args:
            batches: All of them, or those that come after one that was this process's.
            begun: Whether it is the latter.
        """
        return itertools.islice(batches, self.world - 1 if begun else self.rank, None, self.world)


def way_of(loader: Any) -> Way:
    """How a loader's batches are divided among processes.

    Args:
        loader: A single loader.

    Returns:
        ``"own"``: it shards itself, and each process reads all that it gets. ``"indices"``: by the indices of its
        samples, so that nobody reads what is another's. ``"batches"``: it gives the same batches everywhere, and those
        of others are read over. ``"ask"``: which of the two cannot be told without reading.
    """
    said = [part.shards_itself for part in parts_of(loader) if hasattr(part, "shards_itself")]
    if any(said) or any(map(_is_divided, parts_of(loader))):
        return "own"
    if said:
        return "batches"
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return "ask"
    by_sample = loader.batch_sampler is None and loader.num_workers > 0
    if isinstance(loader.dataset, IterableDataset):
        return "ask"
    return "batches" if by_sample or type(loader)._get_iterator is not DataLoader._get_iterator else "indices"


def _is_divided(part: Any) -> bool:
    """Whether a sampler gives this process's part alone, or a data set of Hugging Face's is split by process."""
    replicas = getattr(part, "num_replicas", None)
    if isinstance(replicas, int) and replicas > 1 and hasattr(part, "rank"):
        return True
    return type(part).__module__.partition(".")[0] == "datasets" and getattr(part, "_distributed", None) is not None


def inner_sampler(loader: DataLoader[Any]) -> Any:
    """What gives a loader's samples their order."""
    batches = loader.batch_sampler
    if batches is None:
        return loader.sampler
    return batches.sampler if type(batches) is BatchSampler else batches


def is_ordered(loader: DataLoader[Any]) -> bool:
    """Whether a loader reads its samples as they lie, so that nothing has to be agreed on."""
    return type(inner_sampler(loader)) is SequentialSampler


def compare_first(strategy: Group, opened: Mapping[int, Iterator[Any]]) -> tuple[dict[int, Any], dict[int, list[str]]]:
    """Compares what streams give first on all processes, each of which has to call it.

    Args:
        strategy: How they agree.
        opened: The streams by their position.

    Returns:
        Iterators that still give all of each, and by rank a text that is the same for equal batches.
    """
    whole, digests = {}, []
    for position, batches in opened.items():
        first = next(batches, _NONE)
        digests.append("none" if first is _NONE else digest(first))
        whole[position] = batches if first is _NONE else itertools.chain([first], batches)
    found = zip(*exchange(strategy, digests), strict=True)
    return whole, {position: list(each) for position, each in zip(opened, found, strict=True)}


def digest(batch: Any) -> str:
    """A short text that is the same for equal batches."""
    found = hashlib.blake2b(digest_size=16)
    _feed(found, batch)
    return found.hexdigest()


def _feed(found: Any, value: Any, depth: int = 0) -> None:
    found.update(type(value).__qualname__.encode())
    if depth > _DEPTH:
        return
    if isinstance(value, Tensor):
        found.update(f"{value.dtype}{tuple(value.shape)}".encode())
        if value.layout is torch.strided and not value.is_nested and not value.is_quantized:
            found.update(bytes_of(value).numpy())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _feed(found, key, depth + 1)
            _feed(found, item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _feed(found, item, depth + 1)
    elif callable(getattr(value, "tobytes", None)):  # NumPy's, Pillow's
        if getattr(getattr(value, "dtype", None), "kind", "") == "O":  # whose bytes are addresses
            _feed(found, value.tolist(), depth + 1)
        else:
            found.update(value.tobytes())
    elif isinstance(value, (str, bytes, int, float, complex)) or value is None:
        found.update(repr(value).encode())
    elif hasattr(value, "__dict__"):
        _feed(found, vars(value), depth + 1)
