"""What was logged on several processes, as one process would have it: one exchange at the end of a pass.

Means are pairs of a weighted sum and a weight, and both are added up. Which keys there are is part of the exchange, so
a process without batches learns them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.loops.entries import Entry
from fulmen.loops.log_rules import RULES
from fulmen.loops.metric_merge import counts_of, value_of_all
from fulmen.loops.result_state import dump_entry, load_entry
from fulmen.loops.step_values import Steps, combined, steps_of_all
from fulmen.strategies.exchange import Group, exchange
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.loops.results import Results

Key = tuple[int | None, str, str]
Parts = dict[Key, dict[str, Any]]


def reduce_results(
    strategy: Group,
    results: Results,
    batches: Mapping[int | None, int],
    steps: Steps | None = None,
    last: bool = True,
) -> list[tuple[int, dict[str, Tensor]]]:
    """Gives every entry the epoch's value over all processes, once. All of them have to call it.

    It is called when the batches are through, so that those who hear of the end find the values, and again for what
    they have logged.

    Args:
        strategy: How the processes agree.
        results: What was logged on this one.
        batches: How many batches this process had, by loader (None: where there is one).
        steps: Values of single steps that wait for being reduced, by loader.
        last: Whether nothing will be logged any more.

    Returns:
        Those over all processes, each with its place on the x axis.
    """
    if results.alone or results.reduced:
        return []
    parts, counts = _parts(results)
    with torch.no_grad():
        mine = {"entries": parts, "metrics": counts, "batches": dict(batches), "steps": steps or {}}
        found = exchange(strategy, mine)
        for key in dict.fromkeys(key for one in found for key in one["entries"]):
            _reduce_one(key, found, strategy.global_rank, results)
            results.agreed.add(key)
    results.reduced = last
    loaders = sorted({loader for one in found for loader in one["steps"]})
    return [step for loader in loaders for step in steps_of_all([one["steps"].get(loader, []) for one in found])]


def _reduce_one(key: Key, found: list[dict[str, Any]], rank: int, results: Results) -> None:
    holders = [other for other, one in enumerate(found) if key in one["entries"]]
    _warn_of_gaps(key, holders, found)
    known = found[rank if rank in holders else holders[0]]["entries"][key]
    group = known["ranks"]
    if group is not None and rank not in group:
        return
    entry = _entry_of(key, known, results)
    if entry is not None:
        members = [one for other, one in enumerate(found) if group is None or other in group]
        entry.reduced = _reduced(entry, members, key)


def _parts(results: Results) -> tuple[Parts, dict[str, Any]]:
    """What this process has: its entries, and the counts of the metrics among them by path."""
    for child in results.module.modules():
        if type(child).__name__ == "MetricCollection":
            child.items()  # type: ignore[operator]  # metrics that share their counts get their part of them
    parts: Parts = {}
    counts: dict[str, Any] = {}
    for index in results.indices():
        for entry in results.entries_of(index):
            options: Any = entry.asked
            if not entry.on_epoch or options.rank_zero_only:
                continue
            entry.settle()
            key = (index, entry.hook, entry.name)
            if key in results.agreed:
                continue
            parts[key] = part = {**dump_entry(entry, index, results), "ranks": _ranks_of(entry)}
            if entry.metric is not None:
                part["counts"] = path = part["metric"] or "/".join(map(str, key))
                part["alone"] = not entry.metric.sync_on_compute
                if path not in counts:
                    counts[path] = counts_of(entry.metric)
    return parts, counts


def _ranks_of(entry: Entry) -> list[int] | None:
    """The processes that a key is reduced over; None for all."""
    options: Any = entry.asked
    group = options.sync_dist_group
    if group is None and entry.metric is not None:
        group = entry.metric.process_group
    if group is None:
        return None
    return torch.distributed.get_process_group_ranks(group)


def _entry_of(key: Key, part: dict[str, Any], results: Results) -> Entry | None:
    """This process's entry of a key, made anew where nothing was logged under it."""
    loader, hook, name = key
    table = results.tables(loader)[hook]
    entry = table.get(name)
    if entry is None:
        entry = load_entry({**part, "pending": [], "value": None}, results)
        if entry is None:
            return None
        table[name] = entry
        results.syncs |= entry.is_synced
        if entry.metric is None:
            entry.reset()
    if not entry.updated:
        entry.seen = 0
    return entry


def _reduced(entry: Entry, found: list[dict[str, Any]], key: Key) -> Tensor | None:
    parts = [one["entries"][key] for one in found if key in one["entries"]]
    if entry.metric is not None:
        if parts[0]["alone"]:  # as the metric was told
            return None
        # also those of a process that logged it for another loader only
        path = parts[0]["counts"]
        counts = [one["metrics"][path] for one in found if path in one["metrics"]]
        return entry.scalar(value_of_all(entry.metric, counts))
    totals, weights = [_number(part["total"]) for part in parts], [_number(part["weight"]) for part in parts]
    weight = sum(weights)
    if not weight:
        return None
    total = combined(entry.reduction, totals)
    value = total / weight if entry.reduction == "mean" else total
    dtype = torch.float64 if any(part["dtype"] == torch.float64 for part in parts) else entry.dtype
    on_device = any(part["kind"] == "_take_tensor" for part in parts)
    return torch.tensor(value, dtype=dtype, device=entry.results.device if on_device else None)


def _number(value: Any) -> float:
    number: float = value.item() if isinstance(value, Tensor) else value
    return number


def _warn_of_gaps(key: Key, holders: list[int], found: list[dict[str, Any]]) -> None:
    """Says which key only some processes have that had something to log it for."""
    loader, hook, name = key
    of_batch = RULES[hook].on_step_allowed
    lacking = [
        rank
        for rank, one in enumerate(found)
        if rank not in holders and (not of_batch or one["batches"].get(loader, 0) > 0)
    ]
    if lacking:
        warn_once(
            f"`self.log({name!r}, ...)` in `{hook}` was called on the ranks {holders} and not on the ranks {lacking}. "
            "Its value is that of those which logged it. What to do: log the key on every rank, or pass "
            "`rank_zero_only=True` if it is rank 0's alone."
        )
