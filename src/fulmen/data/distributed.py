"""The part of a training loader that belongs to one of several processes."""

from __future__ import annotations

import copy
import itertools
import math
import os
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from fulmen.data.resample import with_sampler
from fulmen.utilities.combined_loader import length_of
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.imports import available
from fulmen.utilities.seed import isolate_rng

# Indices, or batches of them; a tensor where they are plain numbers.
Items = Tensor | list[Any]


class SharedSampler(DistributedSampler[Any]):
    """PyTorch's ``DistributedSampler``, which also knows what all processes get in an epoch.

    Args:
        dataset: The data set.
        num_replicas: The number of processes.
        rank: This process's number.
        shuffle: Whether to shuffle, where there is no `source`.
        seed: From which, with the number of the epoch, all processes draw the same order.
        drop_last: Whether to leave out what cannot be dealt out evenly, in place of repeating some.
        source: A sampler, or a batch sampler, of the user's, whose list is dealt out. It is drawn once an epoch, by
            each process with the same seed.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int,
        rank: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        source: Any = None,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last)
        self.source = source
        self._list: Items | None = None
        if source is not None:
            if length_of(source) == math.inf:
                raise MisconfiguredRun(
                    "A sampler is shared out among several processes by its list, so it must have a length.",
                    got=f"`{type(source).__name__}` without `__len__`",
                    fix=f"Write `{type(source).__name__}.__len__`, or set `Trainer(use_distributed_sampler=False)` and "
                    "let it give each process its own part.",
                )
            self.generator = getattr(source, "generator", None)  # to be found by who saves it

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self._list = None
        tell = getattr(self.source, "set_epoch", None)
        if callable(tell):
            tell(epoch)

    def whole(self) -> Items:
        """The list of the epoch: each process takes every `num_replicas`-th of it, from its number on."""
        if self.source is None:
            return self._whole_order()
        if self._list is None:
            self._list = as_tensor(self._padded(self._draw()))
        return self._list

    def _whole_order(self) -> Tensor:
        count = len(self.dataset)  # type: ignore[arg-type]
        if self.shuffle:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed + self.epoch))
        else:
            order = torch.arange(count)
        return order.repeat(math.ceil(self.total_size / max(count, 1)))[: self.total_size]

    def _draw(self) -> list[Any]:
        seed = self.seed + self.epoch
        with isolate_rng(include_cuda=False):
            random.seed(seed)
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach other devices, too
            if available("numpy"):
                import numpy

                numpy.random.seed(seed % 2**32)
            # some batch samplers fill one list anew
            return [list(one) if type(one) is list else one for one in itertools.islice(self.source, len(self.source))]

    def _padded(self, items: list[Any]) -> list[Any]:
        lacking = -len(items) % self.num_replicas
        return items + list(itertools.islice(itertools.cycle(items), lacking)) if items else items

    def __iter__(self) -> Iterator[Any]:
        if self.source is None:
            return super().__iter__()
        return iter(as_list(self.whole()[self.rank :: self.num_replicas]))

    def __len__(self) -> int:
        if self.source is None:
            return super().__len__()
        return math.ceil(len(self.source) / self.num_replicas)


def as_tensor(items: list[Any]) -> Items:
    """Plain numbers as a tensor, to take little room; anything else as it is."""
    if items and all(type(one) is int for one in items):
        return torch.tensor(items)
    return items


def as_list(items: Items) -> list[Any]:
    """What :func:`as_tensor` made of it."""
    return items.tolist() if isinstance(items, Tensor) else items


def share_training(loader: Any, rank: int, world_size: int) -> Any:
    """Gives a loader over map-style data a sampler for several processes.

    The order is that of PyTorch's ``DistributedSampler``; a sampler or batch sampler of another kind has its list dealt
    out.

    Args:
        loader: A loader; one that is read otherwise, or is shared out already, is left as it is.
        rank: This process's number.
        world_size: The number of processes.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    batches = loader.batch_sampler
    own_batches = batches is not None and type(batches) is not BatchSampler
    sampler: Any = batches if own_batches else getattr(batches, "sampler", loader.sampler)
    if is_shared(sampler) or is_shared(getattr(sampler, "sampler", None)):
        return _known(loader, sampler) if type(sampler) is DistributedSampler else loader
    ordinary = isinstance(sampler, (RandomSampler, SequentialSampler))
    shared = SharedSampler(
        loader.dataset,
        num_replicas=world_size,
        rank=rank,
        shuffle=isinstance(sampler, RandomSampler),
        seed=int(os.environ.get("PL_GLOBAL_SEED", 0)),
        source=None if ordinary else sampler,
    )
    return replaced(loader, shared) if own_batches else with_sampler(loader, shared)


def is_shared(sampler: Any) -> bool:
    """Whether a sampler gives one process's part alone."""
    return isinstance(sampler, DistributedSampler) or getattr(sampler, "num_replicas", 1) != 1


def _known(loader: DataLoader[Any], given: DistributedSampler[Any]) -> DataLoader[Any]:
    """The user's own sampler as one that knows its list; the order is the same."""
    shared = SharedSampler(
        given.dataset, given.num_replicas, given.rank, given.shuffle, given.seed, given.drop_last
    )  # fmt: skip
    shared.set_epoch(given.epoch)
    return with_sampler(loader, shared)


def replaced(loader: DataLoader[Any], sampler: Any) -> DataLoader[Any]:
    """A copy of a loader that goes by another sampler, which takes the place of whatever says what a batch is made of.

    Args:
        loader: The loader.
        sampler: Gives indices, where the loader makes batches of those that a sampler gives; or else batches, or
            samples where it makes no batches.
    """
    batches, copied = loader.batch_sampler, copy.copy(loader)
    changed: dict[str, Any] = {"_iterator": None}
    if batches is None:
        changed["sampler"] = sampler
    elif type(batches) is BatchSampler:
        changed.update(sampler=sampler, batch_sampler=BatchSampler(sampler, batches.batch_size, batches.drop_last))
    else:
        changed["batch_sampler"] = sampler
    copied.__dict__.update(changed)  # DataLoader forbids to assign some of them
    return copied
