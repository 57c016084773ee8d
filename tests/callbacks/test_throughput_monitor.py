from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.callbacks.progress.runs import Model, loader
from tests.resume.course import MemoryLogger

from fulmen import Trainer
from fulmen.callbacks import ThroughputMonitor
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore:.*there is no validation loader.*")
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
    "max_epochs": 2, "log_every_n_steps": 2,
}  # fmt: skip


class Clock:
    """Each batch of training takes a second, each of validation ten."""

    def __init__(self) -> None:
        self.now = 5.0

    def perf_counter(self) -> float:
        return self.now


class Timed(Model):
    flops_per_batch = 500

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.clock.now += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.clock.now += 10


def test_rates_by_the_clock_without_the_time_of_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("fulmen.callbacks.throughput_monitor.time", clock)
    logger = MemoryLogger()
    monitor = ThroughputMonitor(
        lambda batch: len(batch[0]), lambda batch: batch[0].numel(), window_size=3, available_flops=1000.0
    )
    trainer = Trainer(logger=logger, callbacks=[monitor], **QUIET)
    trainer.fit(Timed(clock), loader(6), loader(4))
    train = [row for _, row in logger.values if "train/time" in row]
    assert [row["train/time"] for row in train] == [2, 4, 6, 8, 10, 12]
    for row in train[1:]:
        assert row["train/device/batches_per_sec"] == 1
        assert row["train/device/samples_per_sec"] == 2
        assert row["train/device/items_per_sec"] == 8
        assert row["train/device/flops_per_sec"] == 500
        assert row["train/device/mfu"] == 0.5
    validate = [row for _, row in logger.values if "validate/time" in row]
    assert [row["validate/time"] for row in validate] == [20, 40, 20, 40]
    assert validate[-1]["validate/device/batches_per_sec"] == pytest.approx(0.1)


def test_the_device_is_waited_for_where_rates_are_logged_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: waits.append(trainer.global_step))
    trainer = Trainer(logger=MemoryLogger(), callbacks=[ThroughputMonitor(lambda batch: 2)], **QUIET)
    device = type("Device", (), {"type": "gpu"})()
    begin = ThroughputMonitor.on_train_start

    def on_train_start(self: ThroughputMonitor, trainer: Any, *_: Any) -> None:
        begin(self, trainer)
        monkeypatch.setattr(type(trainer.strategy), "root_device", device)

    monkeypatch.setattr(ThroughputMonitor, "on_train_start", on_train_start)
    trainer.fit_loop.max_epochs = 1
    trainer.fit(Model(), loader(6))
    assert waits == [2, 4, 6]


def test_without_a_logger_it_counts_nothing() -> None:
    def never(batch: Any) -> int:
        raise AssertionError

    for flags in ({"logger": False}, {"logger": MemoryLogger(), "log_every_n_steps": 0}):
        Trainer(callbacks=[ThroughputMonitor(never)], **{**QUIET, **flags}).fit(Model(), loader(2))


@pytest.mark.parametrize(
    ("functions", "advice"),
    [
        ((lambda batch: 0,), "whole number of 1 or more"),
        ((lambda batch: "two",), "whole number of 1 or more"),
        ((lambda batch: 2, lambda batch: 1), "whole number of 2 or more"),
    ],
)
def test_counts_that_make_no_sense(functions: Any, advice: str) -> None:
    trainer = Trainer(logger=MemoryLogger(), callbacks=[ThroughputMonitor(*functions)], **QUIET)
    with pytest.raises(MisconfigurationException, match=advice):
        trainer.fit(Model(), loader(2))


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(MisconfigurationException, match="window_size=100"):
        ThroughputMonitor(len, window_size=1)
    with pytest.raises(TypeError, match="windows"):
        ThroughputMonitor(len, windows=3)


@pytest.mark.parametrize("functions", [{"batch_size_fn": 3}, {"batch_size_fn": len, "length_fn": 3}])
def test_functions_that_are_none(functions: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"Write `(batch_size|length)_fn=lambda batch"):
        ThroughputMonitor(**functions)


def test_its_values_lie_on_the_axis_of_the_logger() -> None:
    logger = MemoryLogger()
    logger.x_axis = "samples"
    monitor = ThroughputMonitor(lambda batch: len(batch[0]))
    Trainer(logger=logger, callbacks=[monitor], **QUIET).fit(Model(), loader(4), loader(2))
    steps = {kind: [step for step, row in logger.values if f"{kind}/time" in row] for kind in ("train", "validate")}
    assert steps == {"train": [4, 8, 12, 16], "validate": [8, 16]}
