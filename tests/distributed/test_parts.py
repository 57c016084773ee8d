"""What a Trainer consists of, on two processes: one folder, one log, one answer of a finder, silence on rank 1."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fulmen import Callback, LightningModule, Trainer
from fulmen.callbacks import LearningRateFinder, ModelCheckpoint
from fulmen.loggers import CSVLogger
from fulmen.profilers import SimpleProfiler
from fulmen.tuner import Tuner
from fulmen.utilities.exceptions import MisconfigurationException

from .groups import Group

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 1, "enable_progress_bar": False,
    "enable_model_summary": False, "log_every_n_steps": 1,
}  # fmt: skip
BARE: dict[str, Any] = {**QUIET, "logger": False, "enable_checkpointing": False}


class Net(LightningModule):
    def __init__(self, lr: float = 0.01, batch_size: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.lr, self.batch_size = lr, batch_size
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.layer(batch[0]) - batch[1]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test_loss", (self.layer(batch[0]) - batch[1]).pow(2).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader[Any]:
        return loader(12, self.batch_size)


def loader(count: int, batch_size: int = 2) -> DataLoader[Any]:
    drawn = torch.Generator().manual_seed(5)
    return DataLoader(
        TensorDataset(*(torch.randn(count, width, generator=drawn) for width in (4, 1))), batch_size=batch_size
    )


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    group = Group(2)
    yield group
    group.close()


def logged(folder: Path, version: Any) -> tuple[Any, ...]:
    if rank() == 1:  # it begins to look when rank 0 has its folder already
        while not (folder / "lightning_logs" / "version_0").exists():
            time.sleep(0.01)
    logger = CSVLogger(folder, version=time.time_ns() if version == "clock" else version)
    mine = logger.version
    (folder / "lightning_logs" / "version_0").mkdir(parents=True, exist_ok=True)
    trainer = Trainer(**QUIET, logger=logger)
    trainer.fit(Net())
    trainer.test(trainer.lightning_module, loader(3), verbose=False)
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    return mine, trainer.log_dir, checkpoint.best_model_path


@pytest.mark.parametrize("version", [None, "clock", "name"])
def test_rank_zero_chooses_the_folder(two: Group, tmp_path: Path, version: Any) -> None:
    """Also where ranks had looked for one before, and where each would take another."""
    (mine, folder, best), (others, there, known) = two.run(logged, tmp_path, version)
    assert (mine == others) == (version == "name")
    assert (folder, best) == (there, known)
    name = mine if isinstance(mine, str) else f"version_{mine}"
    assert Path(folder) == tmp_path / "lightning_logs" / name
    assert {path.name for path in (tmp_path / "lightning_logs").iterdir()} == {"version_0", name}
    with open(Path(folder) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["loss"]] == ["0", "1", "2"]
    assert sum(bool(row["test_loss"]) for row in rows) == 1
    assert best == str(Path(folder) / "checkpoints" / "epoch=0-step=3.ckpt") and Path(best).is_file()


def shown(folder: Path) -> str:
    flags = {**BARE, "enable_progress_bar": True, "enable_model_summary": True}
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        trainer = Trainer(**flags, profiler=SimpleProfiler(dirpath=folder, filename="profile"))
        trainer.fit(Net())
        trainer.test(trainer.lightning_module, loader(3))
    return said.getvalue()


def test_only_rank_zero_speaks_and_each_profile_has_a_file(two: Group, tmp_path: Path) -> None:
    first, second = two.run(shown, tmp_path)
    assert "3/3" in first and "test_loss" in first
    assert second == ""
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("fit")) == [
        "fit-profile-0.txt",
        "fit-profile-1.txt",
    ]


class Rates(Callback):
    def __init__(self) -> None:
        self.rate = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]


class Diverging(Net):
    """Its loss rises on one rank alone."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = 1 + super().training_step(batch, batch_idx) / 1000
        return loss * (1 + rank() * 20 * max(0, self.trainer.global_step - 14))


def searched(ahead: bool) -> tuple[Any, ...]:
    net, heard = Diverging(), Rates()
    if ahead:
        result = Tuner(Trainer(**BARE)).lr_find(net, num_training=30)
    else:
        finder = LearningRateFinder(num_training_steps=30)
        Trainer(**BARE, callbacks=[finder, heard]).fit(net)
        result = finder.optimal_lr
    assert result is not None
    left = [thread.name for thread in threading.enumerate() if "watch" in thread.name.lower()]
    Trainer(**BARE).fit(net)
    return result.results["loss"], result.stopped, net.lr, heard.rate, left


@pytest.mark.parametrize("ahead", [True, False])
def test_a_rate_is_found_together(two: Group, ahead: bool) -> None:
    """Where the loss of one rank made it stop, the others would wait for it."""
    (first, second) = two.run(searched, ahead)
    assert first == second
    losses, stopped, rate, used, left = first
    assert stopped and 10 < len(losses) < 30
    assert rate != 0.01 and (ahead or used == rate) and not left


def scaled() -> str:
    with pytest.raises(MisconfigurationException) as caught:
        Tuner(Trainer(**BARE)).scale_batch_size(Net())
    return str(caught.value)


def test_a_batch_size_is_found_alone(two: Group) -> None:
    assert all("devices=1" in said for said in two.run(scaled))


def test_a_log_goes_on_after_a_run_in_other_processes(tmp_path: Path) -> None:
    """What starts the processes knows afterwards where they wrote, and further runs write there."""
    trainer = Trainer(**{**QUIET, "strategy": "ddp_fork"}, logger=CSVLogger(tmp_path))
    net = Net()
    trainer.fit(net)
    assert trainer.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    trainer.test(net, loader(3), verbose=False)
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]
    (table,) = (tmp_path / "lightning_logs" / "version_0").glob("metrics*.csv")
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["loss"]) for row in rows] == [True, True, True, False]
    assert rows[-1]["test_loss"]
