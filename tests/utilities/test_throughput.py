from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from fulmen.utilities import measure_flops
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.throughput import Throughput, ThroughputMonitor, compute_dtype, get_available_flops


def test_rates_of_all_devices_and_of_one() -> None:
    throughput = Throughput(available_flops=100, world_size=4, window_size=2, separator="-")
    throughput.update(time=1, batches=1, samples=2, lengths=3, flops=9)
    assert throughput.compute() == {"time": 1, "batches": 1, "samples": 2, "lengths": 3}
    throughput.update(time=3, batches=2, samples=6, lengths=13, flops=40)
    assert throughput.compute() == {
        "time": 3, "batches": 2, "samples": 6, "lengths": 13,
        "device-batches_per_sec": 0.5, "device-samples_per_sec": 2, "device-items_per_sec": 5,
        "batches_per_sec": 2, "samples_per_sec": 8, "items_per_sec": 20,
        "flops_per_sec": 80, "device-flops_per_sec": 20, "device-mfu": 0.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("update", "advice"),
    [
        ({"time": 2, "batches": 3, "samples": 3}, "expected the value to increase"),
        ({"time": 3, "batches": 2, "samples": 3}, "expected the value to increase"),
        ({"time": 3, "batches": 3, "samples": 2}, "Count all samples since the beginning"),
        ({"time": 3, "batches": 3, "samples": 3, "lengths": 3}, "Count the items of each batch"),
        ({"time": 3, "batches": 3, "samples": 3, "lengths": 2}, "Count all lengths since the beginning"),
    ],
)
def test_an_update_that_makes_no_sense_changes_nothing(update: dict[str, Any], advice: str) -> None:
    throughput = Throughput()
    throughput.update(time=2, batches=2, samples=2)
    before = throughput.compute()
    with pytest.raises(MisconfigurationException, match=advice):
        throughput.update(**update)
    assert throughput.compute() == before
    throughput.reset()
    throughput.update(time=1, batches=1, samples=1, lengths=1)


def test_a_window_has_two_ends() -> None:
    with pytest.raises(MisconfigurationException, match="window_size=100"):
        Throughput(window_size=1)
    with pytest.raises(MisconfigurationException, match="world_size=1"):
        Throughput(world_size=0)


def test_measuring_leaves_no_gradients() -> None:
    layer, x = torch.nn.Linear(3, 4), torch.ones(2, 3)
    assert measure_flops(layer, lambda: layer(x), lambda y: y.sum()) == 96
    assert layer.weight.grad is None
    layer(x).sum().backward()
    gradient = layer.weight.grad
    assert gradient is not None
    before = gradient.clone()
    measure_flops(layer, lambda: layer(x), lambda y: y.sum())
    assert layer.weight.grad is gradient
    assert torch.equal(gradient, before)


def test_it_logs_with_a_fabric() -> None:
    rows: list[tuple[int, dict[str, float]]] = []
    fabric = SimpleNamespace(
        device=torch.device("cpu"), world_size=1, strategy=SimpleNamespace(precision="32-true"),
        log_dict=lambda metrics, step: rows.append((step, metrics)),
    )  # fmt: skip
    monitor = ThroughputMonitor(fabric, window_size=2)
    for number in (1, 2):
        monitor.update(time=number, batches=number, samples=number)
        monitor.compute_and_log()
    monitor.compute_and_log(step=7)
    assert [step for step, _ in rows] == [0, 1, 7]
    assert rows[1][1]["device/batches_per_sec"] == 1


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-mixed", torch.bfloat16), ("16-true", torch.float16), ("64-true", torch.float64), ("32", torch.float32)],
)
def test_the_numbers_of_a_precision(precision: str, dtype: torch.dtype) -> None:
    assert compute_dtype(precision) is compute_dtype(SimpleNamespace(precision=precision)) is dtype


def test_an_unknown_peak_is_told_of() -> None:
    device = torch.device("cuda", 0)
    for name, dtype, words in (("Abacus", torch.float32, "'Abacus'"), ("Tesla T4", torch.bfloat16, "no unit")):
        with mock.patch("torch.cuda.get_device_name", return_value=name), pytest.warns(UserWarning, match=words):
            assert get_available_flops(device, dtype) is None
    assert get_available_flops(torch.device("cpu"), torch.float32) is None
