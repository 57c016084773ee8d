from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fulmen.checkpoint.io import TorchCheckpointIO
from fulmen.environments.lightning import LightningEnvironment
from fulmen.precision.double import DoublePrecision
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.trainer.machine import make_strategy, set_backends
from fulmen.utilities.exceptions import MisconfigurationException


@pytest.fixture(autouse=True)
def _benchmark() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.benchmark = before


def made(plugins: Any = None, precision: Any = None, strategy: Any = "auto", accelerator: Any = "cpu") -> Any:
    return make_strategy(accelerator, strategy, 1, 1, precision, plugins)


def test_defaults() -> None:
    strategy = made()
    assert isinstance(strategy, SingleDeviceStrategy)
    assert strategy.root_device == torch.device("cpu")
    assert strategy.precision_plugin.precision == "32-true"
    assert isinstance(strategy.checkpoint_io, TorchCheckpointIO)


def test_plugins_find_their_places() -> None:
    precision, io, environment = DoublePrecision(), TorchCheckpointIO(), LightningEnvironment()
    strategy = made([environment, io, precision])
    assert strategy.precision_plugin is precision
    assert strategy.checkpoint_io is io
    assert strategy.cluster_environment is environment
    assert made(io).checkpoint_io is io


def test_a_strategy_keeps_its_own() -> None:
    io = TorchCheckpointIO()
    own = SingleDeviceStrategy("cpu", checkpoint_io=io)
    assert made(strategy=own) is own
    assert own.checkpoint_io is io


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"plugins": [3]}, r"plugins=\[MyCheckpointIO\(\)\]"),
        ({"plugins": [TorchCheckpointIO(), TorchCheckpointIO()]}, "at most one|plugins="),
        ({"plugins": DoublePrecision(), "precision": "64-true"}, "Leave one of them out"),
        ({"accelerator": "quantum"}, "Available here"),
        ({"precision": "7"}, "Choose among"),
        ({"strategy": "quick"}, "Choose among"),
    ],
)
def test_mistakes(arguments: dict[str, Any], advice: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"What to do: .*({advice})"):
        made(**arguments)


@pytest.mark.parametrize(
    ("deterministic", "algorithms", "warn_only"), [(True, True, False), ("warn", True, True), (False, False, False)]
)
def test_deterministic_algorithms(deterministic: Any, algorithms: bool, warn_only: bool) -> None:
    set_backends(deterministic, None)
    assert torch.are_deterministic_algorithms_enabled() == algorithms
    assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == algorithms
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("deterministic", "benchmark", "result"),
    [(None, None, True), (None, False, False), (True, None, False), (True, True, True), (False, None, True)],
)
def test_benchmark(deterministic: Any, benchmark: bool | None, result: bool) -> None:
    torch.backends.cudnn.benchmark = True
    set_backends(deterministic, benchmark)
    assert torch.backends.cudnn.benchmark is result


@pytest.mark.parametrize("switches", [("yes", None), (None, "yes"), (2, None)])
def test_switches_that_are_none(switches: tuple[Any, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=r"Trainer\((deterministic|benchmark)=True\)"):
        set_backends(*switches)
