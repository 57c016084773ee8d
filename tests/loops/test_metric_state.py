"""What metrics have counted is found and put back whole, also what wrappers keep beside their states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MinMaxMetric, RunningMean
from torchmetrics.wrappers import BootStrapper, MultioutputWrapper

from fulmen.loops.metric_state import metric_states, put_metric_states

METRICS: dict[str, Callable[[], Metric]] = {
    "extremes": lambda: MinMaxMetric(MeanMetric()),
    "the last few": lambda: RunningMean(window=3),
    "samples": lambda: BootStrapper(MeanMetric(), 2, sampling_strategy="multinomial"),
    "by output": lambda: MultioutputWrapper(MeanMetric(), 1),
    "plain": MeanMetric,
}


def numbers(value: Any) -> list[float]:
    values = value.values() if isinstance(value, dict) else [value]
    return [number for one in values for number in torch.as_tensor(one).flatten().tolist()]


def go_on(metric: Any, values: list[float]) -> list[list[float]]:
    found = []
    for value in values:
        torch.manual_seed(1)  # one of them draws
        metric.update(torch.tensor([[value]]))
        found.append(numbers(metric.compute()))
    return found


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("before", [[], [2.0], [2.0, 5.0, 1.0, 4.0]])
def test_it_goes_on_as_if_nothing_had_been_between(kind: str, before: list[float]) -> None:
    """As before and after the sanity check, and in a run that is resumed, where the metric is a new one."""
    undisturbed, disturbed, resumed = (nn.ModuleDict({"m": METRICS[kind]()}) for _ in "abc")
    for module in (undisturbed, disturbed):
        go_on(module["m"], before)
    state = metric_states(disturbed)
    go_on(disturbed["m"], [-7.0, 9.0, 11.0])
    put_metric_states(disturbed, state)
    put_metric_states(resumed, state)
    expected = go_on(undisturbed["m"], [3.0, 6.0])
    assert go_on(disturbed["m"], [3.0, 6.0]) == expected
    assert go_on(resumed["m"], [3.0, 6.0]) == expected


def test_what_was_found_is_a_copy() -> None:
    module = nn.ModuleDict({"m": MinMaxMetric(MeanMetric())})
    go_on(module["m"], [2.0])
    found: Tensor = metric_states(module)["m"]["min_val"]
    go_on(module["m"], [-9.0])
    assert found.item() == 2.0
