from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import (
    CatMetric,
    MaxMetric,
    MeanMetric,
    MeanSquaredError,
    MetricCollection,
    MinMaxMetric,
    SpearmanCorrCoef,
    SumMetric,
)
from torchmetrics.classification import BinaryF1Score, BinaryPrecision, MulticlassAccuracy

from fulmen.loops.metric_merge import counts_of, value_here, value_of_all


def _labels(values: Tensor) -> Tensor:
    return (values * 5).long().abs() % 3


PAIRS: dict[str, Any] = {
    "squares": (MeanSquaredError, lambda m, x, y: m.update(x, y)),
    "ranks": (SpearmanCorrCoef, lambda m, x, y: m.update(x, y)),
    "mean": (MeanMetric, lambda m, x, y: m.update(x, y.abs() + 1)),
    "greatest": (MaxMetric, lambda m, x, y: m.update(x)),
    "sum": (SumMetric, lambda m, x, y: m.update(x)),
    "joined": (CatMetric, lambda m, x, y: m.update(x)),
    "classes": (
        lambda: MulticlassAccuracy(3),
        lambda m, x, y: m.update((x * 5).long().abs() % 3, (y * 5).long().abs() % 3),
    ),
    "inside": (lambda: MinMaxMetric(MeanSquaredError()), lambda m, x, y: m.update(x, y)),
    "made of two": (lambda: SumMetric() + MaxMetric(), lambda m, x, y: m.update(x)),
}


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all")
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=5)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=6), world=st.integers(1, 4))
def test_several_metrics_are_one(name: str, sizes: list[int], world: int) -> None:
    make, update = PAIRS[name]
    generator = torch.Generator().manual_seed(sum(sizes))
    batches = [torch.randn(2, size + 1, generator=generator, dtype=torch.float64) for size in sizes]
    whole: Any = make().set_dtype(torch.float64)
    parts: Any = [make().set_dtype(torch.float64) for _ in range(world)]
    for number, (x, y) in enumerate(batches):
        update(whole, x, y)
        update(parts[number % world], x, y)
    found = [counts_of(part) for part in parts]
    expected = whole.compute()
    for part in parts:
        before = str(counts_of(part))
        value = value_of_all(part, found)
        leaves = value.values() if isinstance(value, dict) else [value]
        single = any(leaf.dtype == torch.float32 for leaf in leaves)  # as torchmetrics goes on in some, and in wrappers
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-5 if single else 1e-9)
        assert str(counts_of(part)) == before, "a metric goes on with its own counts"


def test_a_collection_s_members_have_their_shared_counts() -> None:
    parts = [MetricCollection([BinaryPrecision(), BinaryF1Score()]) for _ in range(2)]
    whole = parts[0].clone()
    for number in range(4):
        x, y = torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1, number % 2, 0])
        whole.update(x, y)
        parts[number % 2].update(x, y)
    for name, expected in whole.compute().items():
        members = [dict(part.items())[name] for part in parts]
        assert value_of_all(members[0], [counts_of(one) for one in members]) == expected


def test_one_process_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    metric: Any = MeanMetric(dist_sync_fn=lambda *_, **__: pytest.fail("it was exchanged"))
    metric.distributed_available_fn = lambda: True
    metric.update(3.0)
    assert value_here(metric) == 3.0
    assert metric._computed is None  # what is asked for later is not this
    with pytest.raises(pytest.fail.Exception):
        metric.compute()
