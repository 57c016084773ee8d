"""The part of a training loader that belongs to one of several processes."""

from __future__ import annotations

import os
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler

from fulmen.data.resample import with_sampler


def share_training(loader: Any, rank: int, world_size: int) -> Any:
    """Gives a loader over map-style data the sampler that PyTorch has for several processes.

    Args:
        loader: A loader; one that is read otherwise, or has such a sampler already, is left as it is.
        rank: This process's number.
        world_size: The number of processes.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, DistributedSampler):
        return loader
    seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
    shuffle = isinstance(sampler, RandomSampler)
    shared: DistributedSampler[Any] = DistributedSampler(
        loader.dataset, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed
    )
    return with_sampler(loader, shared)
