"""A small module and a run of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Net(LightningModule):
    """`Linear(2, 1)` and SGD; the loss is the mean of the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self(batch[0]).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Manual(Net):
    """The same under manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def data(batches: int = 2, size: int = 2) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(batches * size, 2)), batch_size=size)


def fit(module: LightningModule, *loaders: Any, **flags: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, **flags})
    trainer.fit(module, *(loaders or (data(),)))
    return trainer
