from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tests.runs import Net, data, fit

from fulmen.core.datamodule import LightningDataModule
from fulmen.loops.transfer import plan_transfer
from fulmen.precision.double import DoublePrecision
from fulmen.strategies.single_device import SingleDeviceStrategy

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def owner(base: type, names: tuple[str, ...], calls: list[str]) -> Any:
    """A module or data module that overrides some hooks, and says when they are called."""

    def make(name: str) -> Any:
        def hook(self: Any, batch: Any, *args: Any) -> Any:
            calls.append(f"{base.__name__}.{name}{args[-1]}")
            return batch

        return hook

    return type("Owner", (base,), {name: make(name) for name in names})()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_hooks_the_feed_moves_batches_ahead(device: str) -> None:
    plan = plan_transfer(Net(), LightningDataModule(), SingleDeviceStrategy(device), "train_dataloader")
    assert plan.apply is None
    assert plan.device == (None if device == "cpu" else torch.device(device))


CHOICES = [names for count in range(3) for names in itertools.combinations(HOOKS, count)]


@pytest.mark.parametrize("of_module", CHOICES)
@pytest.mark.parametrize("of_data", CHOICES)
def test_each_hook_is_the_data_modules_else_the_modules(of_module: tuple[str, ...], of_data: tuple[str, ...]) -> None:
    calls: list[str] = []
    module, datamodule = owner(Net, of_module, calls), owner(LightningDataModule, of_data, calls)
    plan = plan_transfer(module, datamodule, SingleDeviceStrategy("meta"), "train_dataloader")
    if not of_module and not of_data:
        assert plan.apply is None
        return
    assert plan.device is None and plan.apply is not None
    moved = plan.apply(torch.ones(2), 3)
    assert moved.is_meta == ("transfer_batch_to_device" not in of_module + of_data)
    expected = [
        f"{'LightningDataModule' if name in of_data else 'Net'}.{name}3"
        for name in HOOKS
        if name in of_data or name in of_module
    ]
    assert calls == expected


@pytest.mark.parametrize("names", [(), HOOKS])
def test_a_precision_converts_first(names: tuple[str, ...]) -> None:
    strategy = SingleDeviceStrategy("cpu", precision_plugin=DoublePrecision())
    plan = plan_transfer(owner(Net, names, []), None, strategy, "train_dataloader")
    assert plan.apply is not None
    assert plan.apply(torch.ones(2)).dtype == torch.float64


def test_hooks_run_right_before_the_batch_begins() -> None:
    """Not one batch ahead, and after the loader's number."""
    calls: list[str] = []

    class Watches(Net):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            calls.append(f"transfer {dataloader_idx} {self.trainer.global_step}")
            return batch

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            calls.append(f"start {batch_idx}")

    fit(Watches(), data(2))
    assert calls == ["transfer 0 0", "start 0", "transfer 0 1", "start 1"]
