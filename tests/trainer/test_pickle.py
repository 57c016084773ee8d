"""A Trainer goes to other processes, with whatever it was given."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fulmen import Trainer, callbacks
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.plugins.io import AsyncCheckpointIO

MADE: dict[str, Callable[[Path], Any]] = {
    "LearningRateMonitor": lambda folder: callbacks.LearningRateMonitor(),
    "DeviceStatsMonitor": lambda folder: callbacks.DeviceStatsMonitor(),
    "TQDMProgressBar": lambda folder: callbacks.TQDMProgressBar(),
    "RichProgressBar": lambda folder: callbacks.RichProgressBar(),
    "RichModelSummary": lambda folder: callbacks.RichModelSummary(),
    "EarlyStopping": lambda folder: callbacks.EarlyStopping("loss"),
    "Timer": lambda folder: callbacks.Timer("00:00:01:00"),
    "StochasticWeightAveraging": lambda folder: callbacks.StochasticWeightAveraging(0.1),
    "WeightAveraging": lambda folder: callbacks.WeightAveraging(),
    "EMAWeightAveraging": lambda folder: callbacks.EMAWeightAveraging(decay=0.9),
    "OnExceptionCheckpoint": lambda folder: callbacks.OnExceptionCheckpoint(folder),
    "ThroughputMonitor": lambda folder: callbacks.ThroughputMonitor(len),
    "LearningRateFinder": lambda folder: callbacks.LearningRateFinder(),
    "ModelPruning": lambda folder: callbacks.ModelPruning("l1_unstructured"),
    "GradientAccumulationScheduler": lambda folder: callbacks.GradientAccumulationScheduler({0: 1}),
    "BackboneFinetuning": lambda folder: callbacks.BackboneFinetuning(),
}


@pytest.mark.parametrize("name", MADE)
def test_with_a_callback(name: str, tmp_path: Path) -> None:
    callback = MADE[name](tmp_path)
    trainer = Trainer(accelerator="cpu", callbacks=[callback], default_root_dir=tmp_path, max_epochs=3)
    other = pickle.loads(pickle.dumps(trainer))
    assert [type(one) for one in other.callbacks] == [type(one) for one in trainer.callbacks]
    assert other.max_epochs == 3 and other.checkpoint_callback is other.callbacks[-1]


@pytest.mark.parametrize("profiler", [None, "simple", "advanced", "pytorch"])
def test_with_loggers_plugins_and_a_strategy(profiler: str | None, tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp_spawn", precision="bf16-mixed", plugins=[AsyncCheckpointIO()],
        logger=[CSVLogger(tmp_path), TensorBoardLogger(tmp_path)], profiler=profiler, max_time={"hours": 1},
    )  # fmt: skip
    other = pickle.loads(pickle.dumps(trainer))
    assert (other.world_size, other.precision) == (2, "bf16-mixed")
    assert other.strategy._start_method == "spawn" and other.log_dir == trainer.log_dir
    assert type(other.profiler) is type(trainer.profiler)


def test_an_average_keeps_its_decay() -> None:
    callback = callbacks.EMAWeightAveraging(decay=0.25)
    function = pickle.loads(pickle.dumps(callback))._kwargs["avg_fn"]
    assert function(4.0, 8.0, 1) == pytest.approx(0.25 * 4 + 0.75 * 8)
