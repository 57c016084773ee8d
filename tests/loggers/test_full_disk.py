"""A disk that is full in the middle of a run: a real file system without room."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen.callbacks.callback import Callback
from fulmen.core.module import LightningModule
from fulmen.loggers.background import LoggingFailedError
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.loggers.tensorboard import TensorBoardLogger
from fulmen.trainer.trainer import Trainer

STEPS, FULL_AT = 60, 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).mean()
        self.log("loss", loss)
        for number in range(20):  # more than what is left of the page in which the file ends
            self.log(f"value_{number}", 1 / (number + batch_idx + 3))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fills(Callback):
    """Fills the disk in the middle of a run, all but a few bytes, and waits for what was logged before."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == FULL_AT:
            for logger in trainer.loggers:
                logger._background.drain()
            filled = pytest.raises(OSError, match="No space left")
            with open(self.disk / "filler", "wb", buffering=0) as file, filled:
                while True:
                    file.write(b"x" * 512)


def fit(logger: Any, *callbacks: Callback) -> Tensor:
    torch.manual_seed(0)
    model = Net()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, log_every_n_steps=1, callbacks=list(callbacks),
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(TensorDataset(torch.ones(STEPS, 2))))
    return nn.utils.parameters_to_vector(model.parameters())


def steps_of(logger: Any) -> list[int]:
    """What is read back."""
    if isinstance(logger, CSVLogger):
        with open(Path(logger.log_dir, "metrics.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(row["loss"] and row["epoch"] == "0" for row in rows)
        return [int(row["step"]) for row in rows]
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(logger.log_dir, {"scalars": 0})
    events.Reload()
    return [event.step for event in events.Scalars("loss")]


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_training_goes_on_and_the_files_stay_readable(small_disk: Path, kind: Any) -> None:
    expected = fit(False)
    logger = kind(small_disk)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        found = fit(logger, Fills(small_disk))
    assert torch.equal(found, expected)
    assert len(caught) == 1
    assert str(small_disk) in str(caught[0].message)
    steps = steps_of(logger)
    assert FULL_AT <= len(steps) < STEPS
    assert steps == list(range(len(steps)))
    (small_disk / "filler").unlink()
    logger.log_metrics({"loss": 1.0, "epoch": 0}, len(steps))
    logger.finalize("success")
    assert steps_of(logger) == list(range(len(steps) + 1)), "with room again, it goes on where it was"


def test_training_ends_where_that_was_asked_for(small_disk: Path) -> None:
    with pytest.raises(LoggingFailedError, match="Mend what this says") as caught:
        fit(CSVLogger(small_disk, on_failure="raise"), Fills(small_disk))
    assert isinstance(caught.value.__cause__, OSError)
