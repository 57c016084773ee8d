"""Small real runs to look at, and a run reduced to its hooks."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks.progress.progress_bar import ProgressBar


class Model(LightningModule):
    def __init__(self, talk: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.talk = talk

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.layer(batch[0]).sum(), prog_bar=True)

    def test_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("test_loss", self.layer(batch[0]).sum(), prog_bar=True)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.layer(batch[0])

    def on_train_epoch_end(self) -> None:
        if self.talk:
            self.print("end of epoch", self.current_epoch, sep="|")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Stream(IterableDataset[list[Tensor]]):
    """Batches of which nobody knows how many come."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Tensor]]:
        return iter([[torch.ones(2, 4)] for _ in range(self.batches)])


def loader(batches: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(2 * batches, 4)), batch_size=2)


def stream(batches: int) -> DataLoader[list[Tensor]]:
    return DataLoader(Stream(batches), batch_size=None)


def trainer(bar: ProgressBar, **flags: Any) -> Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", callbacks=[bar], **{"max_epochs": 2, **quiet, **flags})


class Hooks:
    """Fires the hooks of training at a bar."""

    def __init__(self, bar: Any, batches: int | float = 10, **changes: Any) -> None:
        self.bar = bar
        self.trainer: Any = SimpleNamespace(
            is_global_zero=True, sanity_checking=False, training=True, lightning_module=None, loggers=[],
            num_training_batches=batches, num_val_batches=[3], num_test_batches=[3], num_predict_batches=[3],
            num_sanity_val_batches=[2], max_steps=-1, max_epochs=5, current_epoch=0, global_step=0,
            accumulate_grad_batches=1, check_val_every_n_epoch=1, progress_bar_metrics={"loss": 0.25},
        )  # fmt: skip
        vars(self.trainer).update(changes)

    def start(self) -> None:
        self.bar.setup(self.trainer, None, "fit")
        self.bar.on_train_start(self.trainer, None)

    def epoch(self, batches: int) -> None:
        self.bar.on_train_epoch_start(self.trainer, None)
        for index in range(batches):
            self.bar.on_train_batch_end(self.trainer, None, None, None, index)
        self.bar.on_train_epoch_end(self.trainer, None)
        self.trainer.current_epoch += 1

    def validate(self, batches: int, dataloader_idx: int = 0) -> None:
        self.bar.on_validation_start(self.trainer, None)
        for index in range(batches):
            self.bar.on_validation_batch_start(self.trainer, None, None, index, dataloader_idx)
            self.bar.on_validation_batch_end(self.trainer, None, None, None, index, dataloader_idx)
        self.bar.on_validation_end(self.trainer, None)

    def end(self) -> None:
        self.bar.on_train_end(self.trainer, None)


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
