"""Data that is already in memory: batches are fetched by index tensors instead of sample by sample.

It serves a plain DataLoader over a `TensorDataset`, or over subsets of one, with the default collate function and no
workers. Samples come in the same order, the same numbers are drawn from the same generators at the same pace, and the
batches have the same bits, types and strides, in memory of their own.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from fulmen.data.indices import Indices, own_generator
from fulmen.data.plain import Fetch, collates_by_default, draw_base_seed, fetcher, is_plain, open_indices
from fulmen.utilities.rank_zero import warn_once

# Batches whose index tensors are cut at once: enough to make the cut cheap, few enough to take no memory.
_CUT = 512
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_DTYPES = frozenset({*_FLOATS, *_INTEGERS})


class _Table(NamedTuple):
    """Tensors that are read by rows: rows ``rows[i]``, or ``i`` where `rows` is None, for ``i < length``."""

    tensors: tuple[Tensor, ...]
    rows: Tensor | None
    length: int
    device: torch.device


def fast_iterator(loader: Any, indices: Indices | None = None) -> Iterator[list[Tensor]] | None:
    """Opens a pass that fetches each batch by one index tensor.

    The environment variable ``FULMEN_FAST_DATA=0`` turns it off.

    Args:
        loader: Any loader.
        indices: What to read in place of its batch sampler, and from where.

    Returns:
        The batches that ``iter(loader)`` would give; None where the loader or its data are not of the kind this is
        for, in which case nothing has been drawn from any generator.
    """
    if not (is_plain(loader) and loader.batch_sampler is not None and loader.collate_fn is default_collate):
        return None
    table = _table_of(loader.dataset) if collates_by_default() else None
    if table is None:
        return None
    select = _selector(table, pinned=_pins(loader))
    sampler = _standard_sampler(loader, table.length)
    if sampler is None or (indices is not None and indices.notes is not None):
        return open_indices(loader, _by_list(loader, table, select), indices)
    draw_base_seed(loader)
    return map(select, itertools.chain.from_iterable(_cuts(loader.batch_sampler, sampler, table, indices)))


def _table_of(dataset: Any) -> _Table | None:
    subsets: list[Subset[Any]] = []
    while type(dataset) is Subset:
        subsets.append(dataset)
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or getattr(dataset, "__getitems__", None):
        return None
    tensors = tuple(dataset.tensors)
    if not all(map(_is_ordinary, tensors)) or len({tensor.device for tensor in tensors}) != 1:
        return None
    rows, length = None, min(tensor.shape[0] for tensor in tensors)
    for subset in reversed(subsets):
        own = _rows_of(subset)
        if own is None or not _within(own, length):
            return None
        rows, length = own if rows is None else rows.index_select(0, own), len(own)
    return _Table(tensors, rows, length, tensors[0].device)


def _is_ordinary(tensor: Tensor) -> bool:
    return (
        type(tensor) is Tensor
        and tensor.ndim > 0
        and tensor.dtype in _DTYPES
        and tensor.layout is torch.strided
        and not (tensor.requires_grad or tensor.is_nested or tensor.is_conj() or tensor.is_neg())
        # `stack` keeps the memory format of samples of four dimensions or more, `index_select` does not.
        and (tensor.ndim < 5 or tensor.is_contiguous())
    )


_last_rows: WeakKeyDictionary[Subset[Any], tuple[list[int], Tensor]] = WeakKeyDictionary()


def _rows_of(subset: Subset[Any]) -> Tensor | None:
    indices = subset.indices
    if type(indices) is not list:
        return _as_index(indices)
    # To compare a list with a copy of itself is many times faster than to make a tensor of it each epoch.
    known = _last_rows.get(subset)
    if known is not None and known[0] == indices:
        return known[1]
    index = _as_index(indices)
    if index is not None:
        _last_rows[subset] = (indices.copy(), index)
    return index


def _as_index(indices: Any) -> Tensor | None:
    """Row numbers as a tensor of int64 on the CPU, or None where these would not all index one row each."""
    kind = type(indices)
    if kind is range:
        return torch.arange(indices.start, indices.stop, indices.step, device="cpu") if len(indices) else _no_rows()
    if kind is list or kind is tuple:
        if not all(map(_is_integer, set(map(type, indices)))):
            return None
        try:
            return torch.frombuffer(array("q", indices), dtype=torch.int64) if indices else _no_rows()
        except OverflowError:
            return None
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and indices.dtype.kind == "i":
        indices = torch.tensor(indices, device="cpu")
    if type(indices) is Tensor and indices.ndim == 1 and indices.dtype in (torch.int64, torch.int32):
        return indices.to("cpu", torch.int64)
    return None


def _no_rows() -> Tensor:
    return torch.empty(0, dtype=torch.int64, device="cpu")


def _is_integer(kind: type) -> bool:
    # Not bool: `tensor[True]` adds a dimension.
    return kind is int or (kind.__module__ == "numpy" and kind.__name__ in ("int64", "int32"))


def _within(index: Tensor, length: int) -> bool:
    if index.numel() == 0:
        return True
    least, most = torch.aminmax(index)
    return bool(least >= 0) and bool(most < length)


def _pins(loader: DataLoader[Any]) -> bool:
    if not loader.pin_memory:
        return False
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None and accelerator.type != "mps":
        return True
    warn_once("`DataLoader(pin_memory=True)` has no effect here: there is no accelerator that takes pinned memory.")
    return False


def _selector(table: _Table, pinned: bool) -> Fetch:
    tensors = table.tensors
    if pinned:
        return lambda index: [tensor.index_select(0, index).pin_memory() for tensor in tensors]
    return lambda index: [tensor.index_select(0, index) for tensor in tensors]


def _by_list(loader: DataLoader[Any], table: _Table, select: Fetch) -> Fetch:
    fetch_singly = fetcher(loader)

    def fetch(indices: Any) -> Any:
        index = _as_index(indices)
        if index is None or not len(index) or not _within(index, table.length):
            # Negative, out of range or no numbers at all: indexing sample by sample knows what they mean.
            return fetch_singly(indices)
        return select(_located(index, table))

    return fetch


def _located(index: Tensor, table: _Table) -> Tensor:
    if table.rows is not None:
        index = table.rows.index_select(0, index)
    return index.to(table.device)


def _standard_sampler(loader: DataLoader[Any], length: int) -> SequentialSampler | RandomSampler | None:
    """The sampler, if it gives each row of the data at most once, and how it does is known."""
    batch_sampler = loader.batch_sampler
    sampler = batch_sampler.sampler if type(batch_sampler) is BatchSampler else None
    if type(sampler) is SequentialSampler:
        return sampler if len(sampler.data_source) <= length else None
    if type(sampler) is RandomSampler and not sampler.replacement:
        count = len(sampler.data_source)
        return sampler if 0 < count == sampler.num_samples and count <= length else None
    return None


def _cuts(
    batches: Any, sampler: SequentialSampler | RandomSampler, table: _Table, indices: Indices | None
) -> Iterator[tuple[Tensor, ...]]:
    """Index tensors of one batch each, many at a time; draws as the sampler does, and when it does."""
    place, share = (None, None) if indices is None else (indices.place, indices.share)
    skip = 0 if place is None else place.begin()
    count, size = len(sampler.data_source), batches.batch_size
    generator = None
    if type(sampler) is RandomSampler:
        generator = sampler.generator or own_generator()
        order = torch.randperm(count, generator=generator)
    else:
        order = torch.arange(count)
    if place is not None:
        place.done()
    order = _located(order.to("cpu"), table)
    whole = count - count % size
    first, step = (0, 1) if share is None else (share.rank, share.world)
    skip *= step
    for start in range(skip * size, whole, size * _CUT):
        cut = torch.split(order[start : min(start + size * _CUT, whole)], size)
        yield cut if share is None else cut[(first - start // size) % step :: step]
    # The sampler draws a last permutation, of which it gives nothing, when it is asked for more than it has: for the
    # rest that fills no batch, or else after the last batch.
    if generator is not None and generator is getattr(sampler, "generator", None):
        torch.randperm(count, generator=generator)
    last_is_ours = share is None or whole // size % step == first
    if whole < count and not batches.drop_last and skip * size <= whole and last_is_ours:
        yield (order[whole:],)
