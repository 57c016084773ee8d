from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Net
from torch import Tensor

from fulmen.core.logging import LogOptions
from fulmen.loops.entries import Entry, check_value, is_metric, plain_number
from fulmen.loops.results import Results
from fulmen.utilities.exceptions import MisconfigurationException

CPU = torch.device("cpu")
NUMBERS = st.floats(-8, 8, width=32) | st.integers(-8, 8)
SIZES = st.integers(1, 5)


def entry(reduction: str = "mean", on_step: bool = True, on_epoch: bool = True, graph: bool = False) -> Entry:
    results = Results(Net(), training=True, device=CPU)
    results.begin_batch(torch.ones(4, 2), 0)
    asked = LogOptions(False, None, on_step, on_epoch, reduction, graph, False, None, True, None, False)
    return Entry("a", "", asked, results, (on_step, on_epoch, reduction), "training_step")


def expected(pairs: list[tuple[float, int]], reduction: str) -> float:
    values = [value for value, _ in pairs]
    if reduction == "mean":
        return sum(value * size for value, size in pairs) / sum(size for _, size in pairs)
    return {"sum": sum, "max": max, "min": min}[reduction](values)


def taken(made: Entry, pairs: list[tuple[Any, int]]) -> Entry:
    made.prepare(pairs[0][0])
    for value, size in pairs:
        made.take(value, size)
    return made


PAIRS = st.lists(st.tuples(NUMBERS, SIZES), min_size=1, max_size=150)


@given(PAIRS, st.sampled_from(["mean", "sum", "max", "min"]), st.sampled_from([float, torch.tensor]), st.booleans())
def test_reductions_on_the_host_and_in_bulk(
    pairs: list[tuple[float, int]], reduction: str, kind: Any, on_a_device: bool
) -> None:
    """Values on another device are kept and reduced in bulk: the CPU stands for it."""
    made = entry(reduction)
    made.prepare(kind(pairs[0][0]))
    if on_a_device:
        made.take = made._take_tensor
    for value, size in pairs:
        made.take(kind(value), size)
    total, last = made.epoch_value(), made.step_value()
    assert total is not None and last is not None
    assert total.item() == pytest.approx(expected(pairs, reduction), rel=1e-5, abs=1e-5)
    assert last.item() == pytest.approx(pairs[-1][0], rel=1e-6)
    assert total.shape == last.shape == ()


@pytest.mark.parametrize("reduction", ["mean", "sum", "max", "min"])
@pytest.mark.parametrize("bulk", [False, True])
def test_nan_wins(reduction: str, bulk: bool) -> None:
    made = entry(reduction)
    if bulk:
        made.take = made._take_tensor
    for value in (1.0, math.nan, 2.0):
        made.take(torch.tensor(value), 1)
    total = made.epoch_value()
    assert total is not None and total.isnan()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_without_a_size_the_batch_says_it(sizes: list[int]) -> None:
    made = entry()
    for index, size in enumerate(sizes):
        made.results.begin_batch({"x": torch.ones(size, 2)}, index)
        made.take(float(index), None)
    total = made.epoch_value()
    assert total is not None
    assert total.item() == pytest.approx(sum(i * size for i, size in enumerate(sizes)) / sum(sizes), rel=1e-6)


def test_a_size_on_a_device_is_not_read_back() -> None:
    made = taken(entry(), [(torch.tensor(2.0), torch.tensor([3])), (torch.tensor(5.0), torch.tensor(1))])  # type: ignore[list-item]
    total = made.epoch_value()
    assert total is not None and total.item() == pytest.approx(11 / 4)
    assert isinstance(made.weight, Tensor)


def test_reset_forgets() -> None:
    made = taken(entry("max"), [(5.0, 1)])
    assert made.updated
    made.reset()
    assert not made.updated
    assert made.step_value() is made.epoch_value() is None
    made.take(2.0, 1)
    assert made.epoch_value() == 2.0


def test_keys_tell_step_and_epoch_apart_only_where_there_are_both() -> None:
    assert [entry().forked_key(on_step) for on_step in (True, False)] == ["a_step", "a_epoch"]
    assert entry(on_epoch=False).forked_key(True) == "a"
    assert entry(on_step=False).forked_key(False) == "a"
    made = entry()
    made.where = "/dataloader_idx_1"
    assert (made.key, made.forked_key(True)) == ("a/dataloader_idx_1", "a_step/dataloader_idx_1")


def test_double_precision_stays_and_half_is_shown_in_single() -> None:
    for dtype, shown in ((torch.float64, torch.float64), (torch.half, torch.float32), (torch.int64, torch.float32)):
        made = taken(entry(), [(torch.tensor(3, dtype=dtype), 1)])
        assert [value.dtype for value in (made.step_value(), made.epoch_value()) if value is not None] == [shown] * 2


def test_a_graph_is_kept_on_demand() -> None:
    weight = torch.ones((), requires_grad=True)
    for graph in (False, True):
        made = entry("sum", graph=graph)
        taken(made, [(weight * 2, 1), (weight * 3, 1)])
        value = made.epoch_value()
        assert value is not None and value.requires_grad == graph
        if graph:
            value.backward()
            assert weight.grad == 5.0


def test_an_entry_that_keeps_no_epoch() -> None:
    made = taken(entry(on_epoch=False), [(torch.tensor(3.0), 1)])
    assert made.epoch_value() is None
    assert made.step_value() == 3.0


def test_numbers_after_tensors_and_tensors_after_numbers() -> None:
    for pairs in ([(torch.tensor(1.0), 1), (3, 1)], [(1, 1), (torch.tensor(3.0), 1)]):
        made = taken(entry(), pairs)
        assert made.epoch_value() == 2.0
    made = entry()
    made.take = made._take_tensor
    made.take(3, 1)
    assert made.epoch_value() == 3.0


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (None, "returns a number"),
        ("text", r"float\(value\)"),
        ({"a": 1}, "self.log_dict"),
        ([1.0], r"len\(values\)"),
        ((1.0,), r"len\(values\)"),
        (torch.ones(2), r"value\.mean\(\)"),
        (object(), r"value\.item\(\)"),
    ],
)
def test_what_is_no_number(value: Any, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        check_value("a", value)
    made = taken(entry(), [(1.0, 1)])
    with pytest.raises(MisconfigurationException, match=advice):
        made.take(value, 1)


@given(NUMBERS)
def test_plain_numbers(value: float) -> None:
    numpy = pytest.importorskip("numpy")
    assert plain_number("a", value) == value
    assert plain_number("a", numpy.float32(value)) == float(numpy.float32(value))
    assert type(plain_number("a", numpy.array([value]))) in (int, float)


@pytest.mark.parametrize("size", ["four", [1, 2], torch.ones(2), None.__class__])
def test_a_batch_size_is_a_number(size: Any) -> None:
    with pytest.raises(TypeError, match=r"`self\.log\('a', value, batch_size=x\.size\(0\)\)`"):
        entry().take(1.0, size)


def test_metrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = torchmetrics.SumMetric()
    assert is_metric(metric) and not is_metric(torch.nn.Linear(1, 1)) and not is_metric(3.0)
    made = entry()
    made.take = made.take_metric
    for value in (1.0, 2.0):
        metric(value)
        made.take(metric, None)
    assert (made.step_value(), made.epoch_value()) == (2.0, 3.0)
    made.reset()
    assert metric.sum_value == 0.0
    with pytest.raises(ValueError, match="takes a number"):
        made.take(3 + 4j, None)


def test_metrics_that_compute_more_than_a_number() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    made, metric = entry(), torchmetrics.ConfusionMatrix(task="binary")
    made.take = made.take_metric
    metric(torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match=r"computes a tensor of shape \(2, 2\)\n.*self\.log_dict"):
        made.take(metric, None)
    metric.reset()
    metric.update(torch.ones(2), torch.ones(2))
    made.take(metric, None)
    assert made.step_value() is None
    with pytest.raises(ValueError, match=r"shape \(2, 2\)\n.*self\.log_dict"):
        made.epoch_value()
