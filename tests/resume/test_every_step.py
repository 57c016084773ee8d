"""A run that is resumed from any step cannot be told from one that never stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from tests.conftest import SOAK, few
from tests.resume.course import Record, check_every_point, seed
from tests.resume.loaders import LOADERS, Augmented, memory
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.utilities.combined_loader import CombinedLoader

ALONE = [kind for kind in LOADERS if "worker" not in kind]
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


class Model(pl.LightningModule):
    def __init__(self, record: Record, norm: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 8),
            nn.LayerNorm(8),
            nn.BatchNorm1d(8, momentum=0.2) if norm else nn.Identity(),
            nn.Dropout(0.3),
            nn.ReLU(),
            nn.Linear(8, 2),
        )
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
        if isinstance(batch, dict):
            batch = list(batch.values())
        if not isinstance(batch[0], Tensor):  # several loaders, of which some may have ended
            parts = [part for part in batch if part is not None]
            batch = [torch.cat([part[field] for part in parts]) for field in range(3)]
        inputs, labels, numbers = batch
        if inputs.ndim == 1:
            inputs, labels, numbers = inputs[None], labels.view(1), torch.as_tensor(numbers).view(1)
        self.labels = labels
        if not self.trainer.sanity_checking:
            self.record.samples.append((stage, numbers.tolist()))
        self.scores = self.net(inputs)
        return nn.functional.cross_entropy(self.scores, labels)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch, "train")
        self.train_accuracy(self.scores.softmax(1), self.labels)
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("accuracy", self.train_accuracy, on_step=True, on_epoch=True)
        self.log("most", loss.item(), on_step=False, on_epoch=True, reduce_fx=torch.max)
        if batch_idx == 0:
            self.log("first", loss, on_step=False, on_epoch=True)
        return {"loss": loss, "loss_weight": len(self.labels)}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        loss = self.loss(batch, f"val {dataloader_idx}")
        self.log("val_loss", loss, on_step=True, on_epoch=True)
        if dataloader_idx == 0:
            self.collection.update(self.scores.softmax(1), self.labels)
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


def sampled(count: int, of: str = "") -> Any:
    """Some of the points, and all kinds of them, others for each name that is given; all in the long run."""

    def choose(points: list[Any]) -> list[Any]:
        if SOAK or len(points) <= count:
            return points
        kinds = {point[0]: (path, point) for path, point in random.Random(f"kinds {of}").sample(points, len(points))}
        # A pass of which nothing is left, and others after it.
        where = [point[0] for _, point in points]
        if "validation" in where:
            kinds["ended"] = points[where.index("validation") - 1]
        rest = [one for one in points if one not in kinds.values()]
        return [*kinds.values(), *random.Random(f"rest {of}").sample(rest, max(count - len(kinds), 0))]

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

    tried = check_every_point(fit, tmp_path, sampled(14, f"{validate} {accumulate}"), nothing_else)
    assert set(tried) == {"batch", "inside", "validation", "epoch"}


@pytest.mark.parametrize("kind", [*few(ALONE, 10), *few([kind for kind in LOADERS if kind not in ALONE], 2)])
@pytest.mark.filterwarnings("ignore:To go on in the middle of an epoch.*")
@pytest.mark.filterwarnings("ignore:.*will create 3 worker processes.*")
@pytest.mark.filterwarnings("ignore:No (positive|negative) samples in targets.*")
def test_every_kind_of_loader(tmp_path: Path, kind: str) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        model = Model(record, norm=False)
        trainer = pl.Trainer(
            max_epochs=2, logger=record.logger, callbacks=callbacks, accumulate_grad_batches=3,
            val_check_interval=3 if kind not in ("flow", "stateful flow") else 1.0, **QUIET,
        )  # fmt: skip
        validates = "two workers" if kind == "cycle with workers" else kind
        val = LOADERS[validates]() if "worker" in kind else DataLoader(memory(8), 4)
        trainer.fit(model, LOADERS[kind](), CombinedLoader(val, "min_size"), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(4 if "worker" in kind else 10, kind), nothing_else)
