"""Telling the parts of a loader which epoch it is, so that they shuffle anew."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.combined_loader import CombinedLoader


def set_epoch(loader: Any, epoch: int) -> None:
    """Calls ``set_epoch(epoch)`` once on each part of the loaders that has it.

    The parts are the sampler, the batch sampler and its sampler, and the data set.

    Args:
        loader: A loader, a nest of them, or a `CombinedLoader`.
        epoch: The epoch, from 0.
    """
    told: set[int] = set()
    for one in (loader if isinstance(loader, CombinedLoader) else CombinedLoader(loader)).flattened:
        batch_sampler = getattr(one, "batch_sampler", None)
        sampler = getattr(one, "sampler", None)
        inner = getattr(batch_sampler, "sampler", None)
        for part in (sampler, inner, batch_sampler, getattr(one, "dataset", None)):
            method = getattr(part, "set_epoch", None)
            if id(part) not in told and callable(method):
                told.add(id(part))
                method(epoch)
