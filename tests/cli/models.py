"""A module and its data for the tests of the command line."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl


class Kind(enum.Enum):
    PLAIN = 1
    FANCY = 2


class Block(nn.Module):
    """A layer of this package."""

    def __init__(self, scale: float = 1.0, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.scale, self.inner = scale, inner

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.scale


def doubled(values: torch.Tensor) -> torch.Tensor:
    return values * 2


class Net(pl.LightningModule):
    """A net.

    Args:
        width: How wide.
        lr: The rate.
        act: What follows.
        folder: A folder.
        kind: A kind.
        function: What is computed at last.
        late: Something for which there is no name.
    """

    def __init__(
        self,
        width: int = 4,
        lr: float = 0.1,
        act: nn.Module | None = None,
        folder: Path = Path("here"),
        kind: Kind = Kind.PLAIN,
        function: Callable[[torch.Tensor], torch.Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(3, width)
        self.act, self.function, self.folder, self.kind = act, function, folder, kind

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.layer(batch[0]).pow(2).mean())

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Data(pl.LightningDataModule):
    def __init__(self, samples: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(self.hparams.samples, 3)), batch_size=2)

    test_dataloader = predict_dataloader = train_dataloader
