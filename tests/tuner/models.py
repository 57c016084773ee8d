"""What the tests of the finders share: a model in which everything that a step may change shows, and quiet Trainers."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from typing import Any

import numpy
import torch
import torchmetrics
from tests.resume.course import Ema, Record, assert_equal, end_of, seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}
SWEEP: dict[str, Any] = {"min_lr": 1e-5, "max_lr": 0.5, "early_stop_threshold": None}


class Memory:
    """An object of the user's own, such as a buffer of earlier samples."""

    def __init__(self) -> None:
        self.kept: deque[Tensor] = deque(maxlen=3)
        self.counts: dict[str, int] = {"seen": 0}


class Model(pl.LightningModule):
    """Dropout, statistics of batches, metrics, generators, lists and objects of its own."""

    def __init__(self, record: Record | None = None, lr: float = 0.01, batch_size: int = 4, norm: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr, self.batch_size = lr, batch_size
        self.first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.2), nn.Dropout(0.3), nn.ReLU())
        if not norm:
            self.first[1] = nn.Identity()
        self.head: nn.Linear | None = None
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=2)
        self.record = record or Record()
        self.own = torch.Generator().manual_seed(4)
        self.own_python, self.own_numpy = random.Random(5), numpy.random.default_rng(6)
        self.memory, self.outputs, self.steps = Memory(), [], 0
        self.average = torch.zeros(2)

    def configure_model(self) -> None:
        if self.head is None:
            self.head = nn.Linear(8, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, labels, numbers = joined(batch)
        assert self.head is not None
        self.record.samples.append(("train", numbers.tolist()))
        noise = torch.rand(2, generator=self.own) + self.own_python.random() + self.own_numpy.random()
        scores = self.head(self.first(inputs)) + 0.1 * noise + 0.01 * self.steps
        for old in self.memory.kept:
            scores = scores + 0.1 * old
        self.average = 0.9 * self.average + 0.1 * scores.detach().mean(0)
        self.memory.kept.append(scores.detach().mean(0))
        self.memory.counts["seen"] += len(labels)
        self.steps += 1
        loss = nn.functional.cross_entropy(scores + self.average, labels)
        self.outputs.append(loss.detach())
        self.accuracy(scores.softmax(1), labels)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        return {"loss": loss, "loss_weight": len(labels)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels, numbers = joined(batch)
        assert self.head is not None
        if not self.trainer.sanity_checking:
            self.record.samples.append(("val", numbers.tolist()))
        self.log("val_loss", nn.functional.cross_entropy(self.head(self.first(inputs)), labels) + torch.rand(()))

    def on_train_epoch_end(self) -> None:
        self.log("mean", torch.stack(self.outputs).mean() if self.outputs else torch.zeros(()))
        self.outputs.clear()
        self.record.notes.append(f"epoch {self.current_epoch} ends with {self.memory.counts['seen']}")

    def configure_optimizers(self) -> Any:
        assert self.head is not None
        groups = [{"params": self.first.parameters(), "lr": self.lr * 0.1}, {"params": self.head.parameters()}]
        optimizer = torch.optim.Adam(groups, lr=self.lr)
        rates = [self.lr, self.lr * 10]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=100)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def joined(batch: Any) -> list[Tensor]:
    """The samples of one or several loaders as one batch."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if not isinstance(batch[0], Tensor):
        parts = [part for part in batch if part is not None]
        batch = [torch.cat([part[field] for part in parts]) for field in range(3)]
    inputs, labels, numbers = batch
    if inputs.ndim == 1:
        inputs, labels, numbers = inputs[None], labels.view(1), torch.as_tensor(numbers).view(1)
    return [inputs, labels, numbers]


def table(count: int) -> TensorDataset:
    fixed = torch.Generator().manual_seed(3)
    inputs = torch.randn(count, 4, generator=fixed)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long(), torch.arange(count))


class Data(pl.LightningDataModule):
    """Makes loaders with generators of its own, over noise that it draws in `setup`."""

    def __init__(self, batch_size: int = 4, count: int = 26) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.count = count
        self.order = torch.Generator().manual_seed(8)
        self.calls: list[str] = []

    def setup(self, stage: str) -> None:
        self.calls.append(stage)
        inputs, labels, numbers = table(self.count).tensors
        self.samples = TensorDataset(inputs + 0.1 * torch.randn(self.count, 4), labels, numbers)

    def train_dataloader(self) -> Any:
        size = self.hparams["batch_size"]
        return DataLoader(self.samples, size, shuffle=True, generator=self.order)

    def val_dataloader(self) -> Any:
        return DataLoader(self.samples, self.hparams["batch_size"])


def outcome(trainer: pl.Trainer, model: Model, ema: Ema) -> dict[str, Any]:
    """All that a run has made, in the module's own attributes as well."""
    return {
        **end_of(trainer, [ema]),
        "samples": model.record.samples,
        "notes": model.record.notes,
        "logged": model.record.logger.values,
        "own": (
            model.own.get_state(), model.own_python.getstate(), model.own_numpy.random(), model.steps, model.average,
            list(model.memory.kept), dict(model.memory.counts),
        ),
    }  # fmt: skip


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


__all__ = ["QUIET", "SWEEP", "Data", "Ema", "Model", "Record", "assert_equal", "files", "outcome", "seed", "table"]
