"""The counts of TorchMetrics metrics on several processes, put together once, by the reductions that metrics name."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_KEPT = ("_to_sync", "_computed", "_update_count")


def parts_of(metric: Any) -> Iterator[tuple[str, Any]]:
    """A metric and those that it is made of, by their paths in it."""
    return ((path, part) for path, part in metric.named_modules() if hasattr(part, "_reductions"))


def counts_of(metric: Any) -> dict[str, dict[str, Any]]:
    """What a metric has counted in this process, for :func:`merged`."""
    counts = {}
    for path, part in parts_of(metric):
        states = {name: getattr(part, name) for name in part._reductions}
        counts[path] = {"updates": part._update_count, "states": states}
        if hasattr(part, "dump_counts"):
            counts[path]["made"] = part.dump_counts()
    return counts


def value_here(metric: Any) -> Any:
    """What a metric computes of this process's counts alone. No process has to wait for another."""
    with _put_back(metric):
        return metric.compute()


def value_of_all(metric: Any, found: list[dict[str, dict[str, Any]]]) -> Any:
    """What a metric computes of the counts of several processes, as if one had counted all.

    Args:
        metric: The metric of this process, which keeps its own counts.
        found: What :func:`counts_of` gave on each process.
    """
    with _put_back(metric):
        if hasattr(metric, "load_counts") and metric._update_count == 0:
            metric.load_counts(next((one[""]["made"] for one in found if one[""]["updates"]), {}))
        for path, part in parts_of(metric):
            active = [one[path] for one in found if path in one and one[path]["updates"]]
            if active:
                part.__dict__.update(merged(part, active))
                part._update_count = sum(one["updates"] for one in active)
        return metric.compute()


def merged(metric: Any, active: list[dict[str, Any]]) -> dict[str, Any]:
    """The states of one metric that stands for several.

    Args:
        metric: The metric.
        active: Counts of processes that have counted anything.

    Returns:
        The states by name, on the metric's device.
    """
    states = {}
    for name, reduction in metric._reductions.items():
        values = [one["states"][name] for one in active]
        if len(values) == 1:
            state = values[0]
        elif isinstance(metric._defaults[name], Tensor):
            state = _reduced(reduction, torch.stack(values), [one["updates"] for one in active])
        else:
            state = _in_order(values, [one["updates"] for one in active])
            if reduction is not None and getattr(reduction, "__name__", "") != "dim_zero_cat":
                state = reduction(state)  # one that joins is left to the metric, as where there is one process
        states[name] = _moved(state, metric.device)
    return states


def _reduced(reduction: Any, values: Tensor, updates: list[int]) -> Tensor:
    if getattr(reduction, "__name__", "") == "dim_zero_mean":  # of means, each over its updates
        weights = torch.tensor(updates, dtype=values.dtype, device=values.device)
        return (values * weights.view(-1, *[1] * (values.ndim - 1))).sum(0) / weights.sum()
    reduced: Tensor = values if reduction is None else reduction(values)
    return reduced


def _in_order(values: list[Any], updates: list[int]) -> list[Any]:
    """Lists in the order of batches, of which each process had every so many, where each batch added as many items."""
    lists = [[value] if isinstance(value, Tensor) else list(value) for value in values]
    sizes = {len(one) / count for one, count in zip(lists, updates, strict=True)}
    if len(sizes) > 1 or not (size := sizes.pop()).is_integer() or not size:
        return [item for one in lists for item in one]
    step = int(size)
    starts = range(0, max(map(len, lists)), step)
    return [item for start in starts for one in lists for item in one[start : start + step]]


def _moved(state: Any, device: Any) -> Any:
    if isinstance(state, Tensor):
        return state.to(device)
    return [_moved(item, device) for item in state] if isinstance(state, list) else state


@contextmanager
def _put_back(metric: Any) -> Generator[None]:
    """Computes without torchmetrics' own exchange, and leaves a metric as it was."""
    before = []
    for _, part in parts_of(metric):
        names = [*part._reductions, *_KEPT]
        before.append((part, {name: part.__dict__[name] for name in names if name in part.__dict__}))
        part._to_sync = False
        part._computed = None
    try:
        yield
    finally:
        for part, kept in before:
            part.__dict__.update(kept)
