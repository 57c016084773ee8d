"""Values of single steps over all processes, where they were logged with ``sync_dist=True``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fulmen.loops.entries import Entry
from fulmen.strategies.exchange import exchange
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.loops.results import Results
    from fulmen.strategies.strategy import Strategy

StepValues = dict[str, tuple[float, float, str]]
_AFTER = "on_train_batch_end"
Steps = dict[str, list[tuple[int, StepValues]]]  # by loader: each with its place on the x axis


def step_values(entries: Iterable[Entry]) -> StepValues:
    """This process's last values of the keys that are reduced, with their weights."""
    values = {}
    for entry in entries:
        value = entry.step_value() if entry.is_synced else None
        if value is not None:
            values[entry.forked_key(True)] = (float(value.item()), _weight_of(entry), entry.reduction)
    return values


class StepExchange:
    """Brings together what steps of training log, wherever all processes have come to the same place.

    Where nothing is logged so, nobody waits for anybody. Where some may have logged nothing, and would go on, the
    others make sure first that all have come.

    Args:
        strategy: How the processes agree.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.peers = strategy.peers
        self.agreed = self.peers is None  # whether all are known to come after each step

    def reduce(self, results: Results, late: bool) -> dict[str, Tensor]:
        """The values of a step over all processes; all of them come to the same places, in the same order.

        Args:
            results: What was logged on this one.
            late: Whether it is for what hooks have logged after the step, and that alone.

        Raises:
            MisconfigurationException: If other processes have gone on without having logged anything.
        """
        reduced = {}
        newest = [
            entry
            for entry in (results.entries() if results.syncs else ())
            if entry.is_synced and entry.seen == results.batch_index and (entry.hook == _AFTER or not late)
        ]
        if results.some_out or newest or (results.syncs and not late):  # one that never had a batch does not know
            mine = {} if results.out else step_values(newest)
            if not results.some_out and (late or not self.agreed):
                self._agree(mine, late)
            found = exchange(self.strategy, mine)
            if not results.some_out:
                _warn_of_gaps(found)
            reduced = steps_of_all([[(0, one)] for one in found])[0][1]
        if self.peers is not None and not late:
            self.peers.places += 1
        return reduced

    def _agree(self, values: StepValues, late: bool) -> None:
        if self.peers is None:
            return
        names = _names(values)
        where = f"the others' values of the step, logged with `sync_dist=True`: {names}"
        gone = self.peers.absent("after the step" if late else "step", where)
        if gone:
            raise MisconfiguredRun(
                "A value of a step that is to be that of all processes is logged by all of them, in the same step.",
                got=f"{names}, logged with `sync_dist=True` on rank {self.peers.rank}, and not on rank "
                f"{', '.join(map(str, gone))}",
                fix="Call `self.log` on every rank, outside of `if`s that depend on the rank or on the data; or leave "
                "`sync_dist=True` out, with `rank_zero_only=True` where it is rank 0's alone.",
            )
        self.agreed |= not late


def _names(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


def _warn_of_gaps(found: list[StepValues]) -> None:
    """Says which keys only some processes have, of those that have any: a batch may be left out."""
    for key in dict.fromkeys(key for one in found for key in one):
        holders = [rank for rank, one in enumerate(found) if key in one]
        lacking = [rank for rank, one in enumerate(found) if one and rank not in holders]
        if lacking:
            warn_once(
                f"{_names([key])} was logged with `sync_dist=True` in a step on the ranks {holders} and not on the "
                f"ranks {lacking}. Its value there is that of those which logged it. What to do: log the key on every "
                "rank in the same steps."
            )


def steps_of_all(found: list[list[tuple[int, StepValues]]]) -> list[tuple[int, dict[str, Tensor]]]:
    """Brings values together, step by step; a process that had fewer steps takes part with weight 0."""
    reduced = []
    for index in range(max(map(len, found))):
        here = [one[index] for one in found if index < len(one)]
        values = {}
        for key in dict.fromkeys(key for _, one in here for key in one):
            value = _reduced_step([one[key] for _, one in here if key in one])
            values[key] = torch.tensor(value, dtype=torch.float64)
        reduced.append((here[0][0], values))
    return reduced


def combined(reduction: str, values: Iterable[float]) -> float:
    """Sums, or the least or the greatest of several processes."""
    values = list(values)
    if reduction in ("mean", "sum"):
        return sum(values)
    unknown = [value for value in values if value != value]
    return unknown[0] if unknown else max(values) if reduction == "max" else min(values)


def _reduced_step(found: list[tuple[float, float, str]]) -> float:
    reduction = found[0][2]
    if reduction != "mean":
        return combined(reduction, [value for value, _, _ in found])
    return sum(value * weight for value, weight, _ in found) / (sum(weight for _, weight, _ in found) or 1)


def _weight_of(entry: Entry) -> float:
    try:
        return entry.step_weight()
    except MisconfigurationException:  # a batch whose size nobody knows
        return 1.0
