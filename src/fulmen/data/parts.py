"""What a loader is made of, and which of its parts remember something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from fulmen.utilities.combined_loader import CombinedLoader


def flat(loaders: Any) -> Iterator[Any]:
    """The single loaders of a list in which combined ones may be."""
    for loader in loaders:
        yield from loader.flattened if isinstance(loader, CombinedLoader) else [loader]


def parts_of(loader: Any) -> list[Any]:
    """A loader, its samplers and its data set, each once, as far as it has them."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    found = (
        loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None),
        getattr(loader, "dataset", None),
    )  # fmt: skip
    return list({id(part): part for part in found if part is not None}.values())


def generators_of(loader: Any) -> list[torch.Generator]:
    """The generators that a loader's parts hold as attributes, each once."""
    values = [value for part in parts_of(loader) for value in getattr(part, "__dict__", {}).values()]
    return list({id(value): value for value in values if isinstance(value, torch.Generator)}.values())


def is_stateful(part: Any) -> bool:
    """Whether something can say where it is, and go on from there."""
    return callable(getattr(part, "state_dict", None)) and callable(getattr(part, "load_state_dict", None))


def index_parts(loader: Any) -> list[Any]:
    """The samplers of a loader that have a state of their own."""
    data = getattr(loader, "dataset", None)
    return [part for part in parts_of(loader) if part is not loader and part is not data and is_stateful(part)]


def remembering_parts(loader: Any) -> list[Any]:
    """The parts of a loader that have a state of their own and live in this process, or the loader itself if it has.

    A DataLoader with a state is left to itself between passes: to ask for it may open one.
    """
    if is_stateful(loader):
        return [] if isinstance(loader, DataLoader) else [loader]
    data = getattr(loader, "dataset", None)
    # Workers have copies of the data set: what they make of theirs does not come back.
    here = [data] if is_stateful(data) and not getattr(loader, "num_workers", 0) else []
    return here + index_parts(loader)
