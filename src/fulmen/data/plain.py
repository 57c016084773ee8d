"""Reading a plain DataLoader without workers more directly than its own iterator does.

The iterator of `torch.utils.data.DataLoader` costs several microseconds a batch beyond what it does for the data: a
profiler's context, a fetcher, and a collate function that finds out anew for each field what it is. What it does is
public, so it can be done in one step: draw the base seed, take the next indices, fetch, collate. Order, random draws,
batches and errors are the same, and nothing is read ahead.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, MapDataPipe, default_collate, get_worker_info
from torch.utils.data._utils import collate as _collation

Fetch = Callable[[Any], Any]


def direct_iterator(
    loader: Any, indices: Iterable[Any] | None = None, watch: Callable[[Fetch], Fetch] | None = None
) -> Iterator[Any] | None:
    """Opens a pass over a plain DataLoader over a map-style data set, without workers and without pinning.

    Args:
        loader: Any loader.
        indices: What to read; None for what the loader's sampler gives.
        watch: Wraps what fetches the first batch.

    Returns:
        The batches that ``iter(loader)`` would give; None where the loader is not of this kind, in which case nothing
        has been drawn from any generator.
    """
    if not is_plain(loader) or loader.pin_memory:
        return None
    fetch = fetcher(loader)
    return open_indices(loader, fetch, indices, None if watch is None else watch(fetch))


def is_plain(loader: Any) -> bool:
    """Whether a loader is exactly a DataLoader that reads a map-style data set in this process.

    The environment variable ``FULMEN_FAST_DATA=0`` makes it say no to all.
    """
    return (
        type(loader) is DataLoader
        and loader.num_workers == 0
        and loader.timeout == 0
        and not isinstance(loader.dataset, (IterableDataset, MapDataPipe))
        and get_worker_info() is None
        and os.environ.get("FULMEN_FAST_DATA") != "0"
    )


def open_indices(
    loader: DataLoader[Any], fetch: Fetch, indices: Iterable[Any] | None = None, first: Fetch | None = None
) -> Iterator[Any]:
    """Opens the loader's sampler and draws its base seed, in the order in which ``iter(loader)`` does.

    Args:
        loader: A plain loader.
        fetch: Makes a batch of what the sampler gives.
        indices: What to read in place of the sampler.
        first: Makes the first batch; None for `fetch`.

    Returns:
        The batches. An exception or StopIteration of the data set's comes through as it does from the loader.
    """
    # `map` asks the sampler for its iterator once; some samplers shuffle each time they are asked.
    if indices is None:
        indices = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    batches: Iterator[Any]
    if first is None:
        batches = map(fetch, indices)
    else:
        rest = iter(indices)
        batches = itertools.chain(map(first, itertools.islice(rest, 1)), map(fetch, rest))
    draw_base_seed(loader)
    return batches


def draw_base_seed(loader: DataLoader[Any]) -> None:
    """Draws what ``iter(loader)`` draws to seed workers, also where there are none."""
    torch.empty((), dtype=torch.int64).random_(generator=loader.generator).item()


def fetcher(loader: DataLoader[Any]) -> Fetch:
    """The function that makes a batch of the sampler's indices, sample by sample as the loader does."""
    dataset: Any = loader.dataset
    collate = _field_by_field if loader.collate_fn is default_collate and collates_by_default() else loader.collate_fn
    if loader.batch_sampler is None:
        return lambda index: collate(dataset[index])
    fetch_all = getattr(dataset, "__getitems__", None)
    if fetch_all:
        return lambda indices: collate(fetch_all(indices))
    return lambda indices: collate([dataset[index] for index in indices])


def collates_by_default() -> bool:
    """Whether `default_collate` still does with tuples, tensors and numbers what it comes with."""
    table = _collation.default_collate_fn_map
    return (
        table.get(Tensor) is _collation.collate_tensor_fn
        and table.get(int) is _collation.collate_int_fn
        and table.get(float) is _collation.collate_float_fn
        and not any(issubclass(tuple, kind) for kind in table)
    )


def _field_by_field(samples: Any) -> Any:
    first = samples[0]
    if type(first) is not tuple:
        return _field(samples)
    width = len(first)
    if not all(map(width.__eq__, map(len, samples))):
        return default_collate(samples)
    return [_field(column) for column in zip(*samples)]


def _field(column: Any) -> Any:
    first = column[0]
    kind = type(first)
    if kind is Tensor and first.layout is torch.strided and not first.is_nested:
        return torch.stack(column)
    if kind is int:
        return torch.tensor(column)
    if kind is float:
        return torch.tensor(column, dtype=torch.float64)
    return default_collate(column)
