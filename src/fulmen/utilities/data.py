"""Questions about batches and loaders."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredValue
from fulmen.utilities.parsing import AttributeDict as AttributeDict
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.tree import batch_size_of, leaves


def extract_batch_size(batch: Any) -> int:
    """The number of samples in a batch: the length of its first tensor that has one, as ``self.log`` takes it.

    Args:
        batch: A tensor or a nest of them.

    Returns:
        The number; 1 for a batch of scalars.

    Raises:
        MisconfigurationException: If there is no tensor in it.

    Example:
        >>> import torch
        >>> extract_batch_size({"image": torch.zeros(8, 3), "label": torch.zeros(8)})
        8
    """
    size = batch_size_of(batch)
    if size is None:
        raise MisconfigurationException(
            "The batch size is the length of the first tensor in a batch, and here is none.",
            got=f"a batch of type {type(batch).__name__}",
            fix="Pass it: `self.log(..., batch_size=len(batch))`.",
        )
    found = {leaf.shape[0] if leaf.ndim else 1 for leaf in leaves(batch) if isinstance(leaf, Tensor)}
    if len(found) > 1:
        rank_zero_warn(
            f"The tensors of the batch differ in length ({', '.join(map(str, sorted(found)))}); {size} is taken for "
            f"the batch size. To say it yourself: `self.log(..., batch_size={size})`."
        )
    return size


def has_iterable_dataset(dataloader: object) -> bool:
    """Whether a loader reads an ``IterableDataset``."""
    return isinstance(getattr(dataloader, "dataset", None), IterableDataset)


def sized_len(dataloader: object) -> int | None:
    """A loader's length; None if it has none."""
    try:
        return len(dataloader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def has_len(dataloader: object) -> bool:
    """Whether a loader has a length; warns where it is 0, and where workers may make it a wrong one."""
    length = sized_len(dataloader)
    if length == 0:
        rank_zero_warn(f"The length of `{type(dataloader).__name__}` is 0. Is that on purpose?")
    return _reliable(dataloader, length)


def has_len_all_ranks(
    dataloader: object, strategy: Any, allow_zero_length_dataloader_with_multiple_devices: bool = False
) -> bool:
    """Whether a loader has a length on each process.

    Args:
        dataloader: The loader.
        strategy: How processes agree.
        allow_zero_length_dataloader_with_multiple_devices: Whether some processes may have nothing to do while others
            have.

    Returns:
        False where there is no length, or one of 0 that others do not have, if that is allowed.

    Raises:
        MisconfiguredRun: If a process has nothing to do while others have, and that is not allowed.
    """
    length = sized_len(dataloader)
    if length is None:
        return False
    total = strategy.reduce(torch.tensor(length, device=strategy.root_device), reduce_op="sum")
    if total == 0:
        rank_zero_warn(f"The length of `{type(dataloader).__name__}` is 0 on all processes. Is that on purpose?")
    elif length == 0 and not allow_zero_length_dataloader_with_multiple_devices:
        raise MisconfiguredRun(
            "Each process needs at least one batch, and the loader of this one is empty.",
            got=f"0 batches here, {int(total)} on all processes",
            fix="Give each process data, or set `allow_zero_length_dataloader_with_multiple_devices = True` in the "
            "module or data module.",
        )
    elif length == 0:
        return False
    return _reliable(dataloader, length)


def _reliable(dataloader: object, length: int | None) -> bool:
    if length is not None and has_iterable_dataset(dataloader) and isinstance(dataloader, DataLoader):
        rank_zero_warn(
            "The data set is an `IterableDataset` with a length. With workers that is only right if each of them reads "
            "a part of its own (`torch.utils.data.get_worker_info()`)."
        )
    return length is not None


def suggested_max_num_workers(local_world_size: int) -> int:
    """How many workers a loader can use if each process of this machine leaves one core to itself.

    Args:
        local_world_size: The number of processes on this machine.

    Returns:
        The number, 1 or more.

    Raises:
        MisconfiguredValue: If `local_world_size` is less than 1.
    """
    if local_world_size < 1:
        raise MisconfiguredValue(
            "`local_world_size` is the number of processes on this machine, 1 or more.",
            got=local_world_size,
            fix="`suggested_max_num_workers(trainer.num_devices)`.",
        )
    affinity = getattr(os, "sched_getaffinity", None)  # not every system can bind a process to some of its cores
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // local_world_size - 1)
