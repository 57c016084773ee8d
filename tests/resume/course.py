"""Training runs that are saved at every step, and what has to be the same whether they were stopped there or not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

import fulmen as pl
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.loggers.logger import Logger

Point = tuple[str, int, int, int]  # where, and how many values, samples and notes there were


class MemoryLogger(Logger):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "memory"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.values.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


class Ema(pl.Callback):
    """An average of the weights, in which everything that went before shows; it also draws and counts."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}
        self.epochs = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.rand(3)  # a resumed run starts once more: what it draws then must not reach training
        random.random()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, value in pl_module.state_dict().items():
            if value.is_floating_point():
                old = self.average.get(name, value)
                self.average[name] = (0.9 * old + (0.1 + 0.01 * random.random()) * value).detach().clone()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs += 100

    def state_dict(self) -> dict[str, Any]:
        return {"average": dict(self.average), "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average, self.epochs = dict(state_dict["average"]), state_dict["epochs"]


@dataclass
class Record:
    """What a run leaves behind."""

    logger: MemoryLogger = field(default_factory=MemoryLogger)
    samples: list[tuple[str, list[int]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)


class Saver(Checkpoint):
    """Saves at every step boundary there is."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record
        self.points: list[tuple[Path, Point]] = []

    def save(self, trainer: pl.Trainer, where: str) -> None:
        path = self.folder / f"{len(self.points):03d}-{where}.ckpt"
        record = self.record
        point = (where, len(record.logger.values), len(record.samples), len(record.notes))
        trainer.save_checkpoint(path)
        self.points.append((path, point))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.save(trainer, "batch")

    def on_validation_batch_end(self, trainer: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, "inside")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer, "epoch")


def seed(value: int) -> None:
    torch.manual_seed(value)
    numpy.random.seed(value % 2**32)
    random.seed(value)


Fit = Callable[[Record, list[pl.Callback], Any, int], pl.Trainer]


def end_of(trainer: pl.Trainer, callbacks: list[Any]) -> dict[str, Any]:
    """Everything that a run has made, with the random states in which it ends."""
    return {
        "weights": trainer.lightning_module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "callbacks": [callback.state_dict() for callback in callbacks if not isinstance(callback, Saver)],
        "metrics": dict(trainer.callback_metrics.items()),
        "counts": (trainer.current_epoch, trainer.global_step, trainer.progress.batches),
        "random": (torch.get_rng_state(), random.getstate(), numpy.random.get_state(legacy=True)[1].tolist()),
    }


def assert_equal(ours: Any, theirs: Any, where: str = "") -> None:
    """Bit by bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, list) and len(ours) != len(theirs):
        first = next((i for i, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), -1)
        raise AssertionError(
            f"{where}: {len(ours)} and {len(theirs)}; from {first} on: {ours[first:][:3]}, {theirs[first:][:3]}"
        )
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), f"{where}: {ours} is not {theirs}"
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), f"{where}: {list(ours)} are not {list(theirs)}"
        for key in ours:
            assert_equal(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), f"{where}: {ours} is not {theirs}"
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{where}[{index}]")
    elif not callable(ours):
        assert ours == theirs or (ours != ours and theirs != theirs), f"{where}: {ours} is not {theirs}"


def check_every_point(
    fit: Fit, folder: Path, choose: Callable[[list[Any]], list[Any]], compare: Callable[[Record, Record, Point], None]
) -> list[str]:
    """Resumes a run from points of it, and compares each with the run that was not stopped.

    Args:
        fit: Runs `fit` with a record, callbacks, a checkpoint and a seed.
        folder: For the checkpoints.
        choose: Takes some of the points.
        compare: What to look at besides the end.

    Returns:
        Where the points were that were tried.
    """
    whole, ema = Record(), Ema()
    saver = Saver(folder, whole)
    trainer = fit(whole, [ema, saver], None, 7)
    whole.end = end_of(trainer, [ema])
    tried = []
    for path, point in choose(saver.points):
        record, ema = Record(), Ema()
        trainer = fit(record, [ema], path, 1234)
        record.end = end_of(trainer, [ema])
        try:
            assert_equal(record.samples, whole.samples[point[2] :], "samples")
            assert_equal(record.logger.values, whole.logger.values[point[1] :], "logged")
            assert_equal(record.notes, whole.notes[point[3] :], "notes")
            assert_equal(record.end, whole.end)
            compare(record, whole, point)
        except AssertionError as error:
            raise AssertionError(f"resumed from {path.name}: {error}") from error
        tried.append(point[0])
    return tried
