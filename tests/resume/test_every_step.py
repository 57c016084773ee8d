"""A run that is resumed from any step cannot be told from one that never stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import fulmen as pl
from tests.conftest import SOAK
from tests.resume.course import Record, check_every_point, seed

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
]
QUIET = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


class Augmented(Dataset[Any]):
    """Samples with their numbers, to which all three generators add noise."""

    def __init__(self, count: int, noise: bool = True) -> None:
        fixed = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(count, 4, generator=fixed)
        self.labels = (self.inputs.sum(1) > 0).long()
        self.noise = noise

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        inputs = self.inputs[index]
        if self.noise:
            inputs = inputs + 0.1 * torch.randn(4) + 0.1 * numpy.random.randn() + 0.1 * random.random()
        return inputs, self.labels[index], index


class Model(pl.LightningModule):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
        self.train_accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=2)
        self.collection = torchmetrics.MetricCollection(
            {
                "precision": torchmetrics.Precision(task="multiclass", num_classes=2),
                "recall": torchmetrics.Recall(task="multiclass", num_classes=2),
                "curve": torchmetrics.AUROC(task="multiclass", num_classes=2),
            },
            prefix="val_",
        )
        self.record = record

    def loss(self, batch: Any, stage: str) -> Tensor:
        inputs, labels, numbers = batch
        if not self.trainer.sanity_checking:
            self.record.samples.append((stage, numbers.tolist()))
        self.scores = self.net(inputs)
        return nn.functional.cross_entropy(self.scores, labels)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch, "train")
        self.train_accuracy(self.scores.softmax(1), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("accuracy", self.train_accuracy, on_step=True, on_epoch=True)
        self.log("most", loss.item(), on_step=False, on_epoch=True, reduce_fx=torch.max)
        if batch_idx == 0:
            self.log("first", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        loss = self.loss(batch, f"val {dataloader_idx}")
        self.log("val_loss", loss, on_step=True, on_epoch=True)
        if dataloader_idx == 0:
            self.collection.update(self.scores.softmax(1), batch[1])
            self.log_dict(self.collection)

    def on_train_epoch_start(self) -> None:
        self.record.notes.append(f"epoch {self.current_epoch} starts")

    def on_train_epoch_end(self) -> None:
        self.record.notes.append(f"epoch {self.current_epoch} ends")
        self.log("noise", torch.rand(()))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=100)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def sampled(count: int) -> Any:
    """Some of the points, and all kinds of them; all in the long run."""

    def choose(points: list[Any]) -> list[Any]:
        if SOAK or len(points) <= count:
            return points
        kinds = {point[0]: (path, point) for path, point in random.Random(1).sample(points, len(points))}
        rest = [one for one in points if one not in kinds.values()]
        return [*kinds.values(), *random.Random(2).sample(rest, max(count - len(kinds), 0))]

    return choose


def nothing_else(*_: Any) -> None: ...


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("validate", ["mid", "end", "iterations"])
def test_without_workers(tmp_path: Path, accumulate: int, validate: str) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        model = Model(record)
        when: dict[str, Any] = {
            "mid": {"val_check_interval": 3},
            "end": {},
            "iterations": {"val_check_interval": 5, "check_val_every_n_epoch": None},
        }[validate]
        trainer = pl.Trainer(
            max_epochs=3, logger=record.logger, callbacks=callbacks, accumulate_grad_batches=accumulate, **when, **QUIET
        )
        train = DataLoader(Augmented(30), batch_size=4, shuffle=True)
        val = [DataLoader(Augmented(9), batch_size=3), DataLoader(Augmented(8), batch_size=4, shuffle=True)]
        trainer.fit(model, train, val, ckpt_path=path)
        return trainer

    tried = check_every_point(fit, tmp_path, sampled(24), nothing_else)
    assert set(tried) == {"batch", "inside", "validation", "epoch"}
