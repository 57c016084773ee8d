"""Partial results of a pass in a checkpoint, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.core.logging import LogOptions
from fulmen.loops.entries import Entry
from fulmen.loops.metric_state import path_of

if TYPE_CHECKING:
    from fulmen.loops.results import Results

_KINDS = ("_take_number", "_take_tensor", "take_metric")


def dump_results(results: Results) -> dict[str, Any]:
    """What was logged so far in a pass, as tensors and plain values.

    Args:
        results: The results of the pass.
    """
    entries = []
    for index, tables in results._tables.items():
        for table in tables.values():
            entries += [dump_entry(entry, index, results) for entry in table.values() if entry.updated]
    return {"batch_index": results.batch_index, "entries": entries}


def load_results(results: Results, state: dict[str, Any]) -> None:
    """Takes back what :func:`dump_results` gave. Metrics get their counts from elsewhere.

    Args:
        results: The results of the pass, after a reset.
        state: The state.
    """
    results.batch_index = state["batch_index"]
    for one in state["entries"]:
        entry = load_entry(one, results)
        if entry is not None:
            results.syncs |= not results.alone and entry.is_synced
            results.tables(one["loader"])[entry.hook][entry.name] = entry


def merge_results(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Brings together what several processes had logged in a pass, as if one had logged all of it.

    Args:
        states: What :func:`dump_results` gave, by rank.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for state in states:
        for entry in state["entries"]:
            key = (entry["loader"], entry["hook"], entry["name"])
            known = merged.get(key)
            merged[key] = entry if known is None else _merge(known, entry)
    return {**states[0], "entries": list(merged.values())}


def emptied(state: dict[str, Any]) -> dict[str, Any]:
    """The keys of a pass without what was logged, for a process whose values another one has taken over."""
    entries = [
        {**entry, "total": _neutral(entry["meaning"][2]), "weight": 0.0, "pending": []}
        for entry in state["entries"]
        if entry["kind"] != "take_metric"
    ]
    return {**state, "entries": entries}


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    combine = {"max": torch.maximum, "min": torch.minimum}.get(one["meaning"][2], torch.add)
    totals = (torch.as_tensor(entry["total"], dtype=torch.float64) for entry in (one, other))
    total: Any = combine(*totals)
    return {
        **one,
        "seen": max(one["seen"], other["seen"]),
        "total": total if isinstance(one["total"], Tensor) or isinstance(other["total"], Tensor) else total.item(),
        "weight": one["weight"] if one["kind"] == "take_metric" else one["weight"] + other["weight"],
        "pending": [*one["pending"], *other["pending"]],
    }


def _neutral(reduction: str) -> float:
    return {"max": -float("inf"), "min": float("inf")}.get(reduction, 0.0)


def dump_entry(entry: Entry, loader: int | None, results: Results) -> dict[str, Any]:
    """One entry in plain values."""
    asked = LogOptions(*entry.asked)
    metric = entry.metric is not None
    return {
        "loader": loader,
        "hook": entry.hook,
        "name": entry.name,
        "where": entry.where,
        # functions and process groups have no plain form; the entry keeps what the first of them meant
        "asked": [*asked._replace(reduce_fx=entry.reduction, sync_dist_group=None)],
        "meaning": [entry.on_step, entry.on_epoch, entry.reduction],
        "kind": entry.take.__name__,
        "metric": path_of(results.module, entry.metric) if metric else None,
        "dtype": entry.dtype,
        "value": _detached(entry.value) if not metric or isinstance(entry.value, (int, float, Tensor)) else None,
        "seen": entry.seen,
        "total": _detached(entry.total),
        "weight": _detached(entry.weight),
        "pending": [[value.detach(), _detached(weight)] for value, weight in entry.pending],
    }


def load_entry(state: dict[str, Any], results: Results) -> Entry | None:
    """What :func:`dump_entry` gave; None for a metric that the module does not have any more."""
    on_step, on_epoch, reduction = state["meaning"]
    asked = LogOptions(*state["asked"])
    entry = Entry(state["name"], state["where"], asked, results, (on_step, on_epoch, reduction), state["hook"])
    if state["kind"] == "take_metric":
        path = state["metric"]
        found = dict(results.module.named_modules()).get(path) if path is not None else None
        if found is None:
            return None
        entry.metric = found
    device = results.device
    entry.take = getattr(entry, next(kind for kind in _KINDS if kind == state["kind"]))
    entry.restored = True
    entry.dtype, entry.seen = state["dtype"], state["seen"]
    entry.value, entry.total, entry.weight = (_placed(state[name], device) for name in ("value", "total", "weight"))
    entry.pending = [(_placed(value, device), _placed(weight, device)) for value, weight in state["pending"]]
    return entry


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
