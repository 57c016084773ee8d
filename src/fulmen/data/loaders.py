"""What is asked of a loader before the loop: that it is one, how long it is, and which sampler it needs."""

from __future__ import annotations

import copy
import functools
import math
import os
from typing import TYPE_CHECKING, Any

from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler

from fulmen.data.resample import with_sampler
from fulmen.strategies.overrides import override
from fulmen.utilities.combined_loader import CombinedLoader, length_of
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from fulmen.strategies.strategy import Strategy

__all__ = ["as_sequence", "check_loader", "length_of", "planned_batches", "prepare", "processed"]

_WHERE = {
    "train_dataloader": "trainer.fit(model, train_dataloaders=loader)",
    "val_dataloader": "trainer.fit(model, ..., val_dataloaders=loader)",
    "test_dataloader": "trainer.test(model, dataloaders=loader)",
    "predict_dataloader": "trainer.predict(model, dataloaders=loader)",
}


def check_loader(obj: Any, hook_name: str) -> None:
    """Makes sure that something is a loader, or a nest of loaders.

    Args:
        obj: What was passed to the Trainer, or what the hook returned.
        hook_name: The hook that gives loaders of this kind, for example ``"train_dataloader"``.

    Raises:
        MisconfigurationException: If it is None, or cannot be iterated.
    """
    if obj is None:
        raise MisconfiguredType(
            f"There must be data: a loader passed to the Trainer, or the hook `{hook_name}`.",
            got="None",
            fix=f"`{_WHERE[hook_name]}`, or in the LightningModule or LightningDataModule:\n"
            f"    def {hook_name}(self):\n"
            "        return DataLoader(self.dataset, batch_size=32)",
        )
    for loader in CombinedLoader(obj).flattened if not isinstance(obj, CombinedLoader) else obj.flattened:
        iterable = hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
        if isinstance(loader, (type, str, bytes)) or not iterable:
            raise MisconfiguredType(
                f"A loader for `{hook_name}` must be iterable.",
                got=repr(loader),
                fix="Pass `DataLoader(dataset, batch_size=32)`, any other iterable over batches, or a list or dict of "
                f"them: `{_WHERE[hook_name]}`.",
            )
        if isinstance(loader, Dataset) and not hasattr(loader, "__iter__"):
            rank_zero_warn(
                f"`{hook_name}` got the data set {type(loader).__name__} itself, which gives single samples and no "
                f"batches. What to do: `DataLoader(dataset, batch_size=32)`."
            )


def as_sequence(loaders: Any) -> list[Any]:
    """The loaders that an evaluation goes over one after the other."""
    if isinstance(loaders, CombinedLoader):
        return loaders.flattened if loaders.mode == "sequential" else [loaders]
    return CombinedLoader(loaders, "sequential").flattened


def planned_batches(length: int | float, limit: int | float, name: str) -> int | float:
    """How many batches of a loader will be read.

    Args:
        length: The loader's length; infinity for unknown.
        limit: A number of batches (int), or a fraction of them (float); ``1.0`` is all of them.
        name: The flag that set the limit, for the error text, for example ``"limit_train_batches"``.

    Returns:
        The number; infinity where it is unknown.

    Raises:
        MisconfigurationException: If the limit is a fraction of an unknown length, or a fraction that leaves none of
            the batches there are.
    """
    if isinstance(limit, int):
        return min(length, limit)
    if length == math.inf:
        if limit in (0.0, 1.0):
            return length if limit else 0
        raise MisconfigurationException(
            f"`{name}` can be a fraction only where the loader has a length; this one has none.",
            got=f"{name}={limit}",
            fix=f"Give a number of batches, `{name}=100`, or all of them, `{name}=1.0`; or write `__len__` on the "
            "loader's data set.",
        )
    planned = int(length * limit)
    if planned == 0 < limit and length > 0:
        raise MisconfigurationException(
            f"`{name}` must leave at least one batch, or be 0.",
            got=f"{name}={limit} of {int(length)} batches",
            fix=f"Pass `{name}=1` for one batch, a fraction of at least {1 / length:.4g}, or 0 to leave them out.",
        )
    return planned


def prepare(loader: Any, *, stage: str, overfit: bool = False, rank: int = 0) -> Any:
    """Makes loaders ready for the loop; their order of samples stays what plain PyTorch gives.

    Args:
        loader: A loader, a nest of them, or a `CombinedLoader`.
        stage: ``"train"``, ``"val"``, ``"test"`` or ``"predict"``.
        overfit: Whether `overfit_batches` is on, which reads the same samples in the same order each time.
        rank: This process's number, from which workers draw their streams after `seed_everything(workers=True)`.

    Returns:
        The same object, unless `overfit` had to replace a sampler.

    Raises:
        MisconfigurationException: If a sampler must be replaced in a loader that cannot be made again.
    """
    combined = loader if isinstance(loader, CombinedLoader) else CombinedLoader(loader)
    ready = [_ready(one, stage, overfit, rank) for one in combined.flattened]
    if all(new is old for new, old in zip(ready, combined.flattened)):
        return loader
    changed = copy.copy(combined)
    changed.flattened = ready
    return changed if isinstance(loader, CombinedLoader) else changed.iterables


def processed(loader: Any, strategy: Strategy) -> Any:
    """What somebody's own strategy makes of a loader, or of each in a `CombinedLoader`.

    Args:
        loader: The whole loader, before it is dealt out to processes.
        strategy: The strategy.
    """
    process = override(strategy, "process_dataloader")
    if process is None:
        return loader
    if not isinstance(loader, CombinedLoader):
        return process(loader)
    changed = copy.copy(loader)
    changed.flattened = [process(one) for one in loader.flattened]
    return changed


def _sampler_of(loader: DataLoader[Any]) -> Any:
    # Where a batch sampler was passed, `loader.sampler` is a default that nobody reads.
    return loader.batch_sampler.sampler if type(loader.batch_sampler) is BatchSampler else loader.sampler


def _keeping_the_rest(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader that drops no samples: each is to have its prediction."""
    batches = loader.batch_sampler
    own_way = type(loader).__iter__ is not DataLoader.__iter__
    if own_way or not isinstance(batches, BatchSampler) or not getattr(batches, "drop_last", False):
        return loader
    whole, kept = copy.copy(batches), copy.copy(loader)
    whole.drop_last = False
    kept.__dict__.update(batch_sampler=whole, drop_last=False, _iterator=None)  # DataLoader forbids to assign some
    return kept


def _ready(loader: Any, stage: str, overfit: bool, rank: int) -> Any:
    if not isinstance(loader, DataLoader):
        return loader
    streams = isinstance(loader.dataset, IterableDataset)
    if overfit and not streams and not isinstance(_sampler_of(loader), SequentialSampler):
        rank_zero_warn(
            f"`overfit_batches` reads the same batches in each epoch: the {stage} dataloader is read in order, "
            "without its shuffling sampler."
        )
        loader = with_sampler(loader, SequentialSampler(loader.dataset))  # type: ignore[arg-type]
    if stage == "predict" and not streams:
        loader = _keeping_the_rest(loader)
    if stage in ("val", "test") and isinstance(_sampler_of(loader), RandomSampler):
        rank_zero_warn(
            f"Your `{stage}_dataloader` shuffles its samples, so two evaluations see different batches. "
            "What to do: `shuffle=False` for validation and test loaders."
        )
    if streams and loader.num_workers > 1 and hasattr(loader.dataset, "__len__"):
        rank_zero_warn(
            "Your `IterableDataset` has a `__len__`, and each of the loader's workers reads all of it unless it is "
            "told otherwise. What to do: share the samples out with `torch.utils.data.get_worker_info()`."
        )
    if os.environ.get("PL_SEED_WORKERS") == "1" and loader.worker_init_fn is None:
        from fulmen.utilities.seed import pl_worker_init_function

        loader.worker_init_fn = functools.partial(pl_worker_init_function, rank=rank)
    return loader
