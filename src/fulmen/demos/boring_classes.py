"""The smallest models and data modules that have all of the usual parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.demos.random_data import RandomDataset as RandomDataset
from fulmen.demos.random_data import RandomDictDataset as RandomDictDataset
from fulmen.demos.random_data import RandomIterableDataset as RandomIterableDataset
from fulmen.demos.random_data import RandomIterableDatasetWithLen as RandomIterableDatasetWithLen
from fulmen.utilities.types import STEP_OUTPUT


class BoringModel(LightningModule):
    """One layer, which learns to give ones whatever comes in.

    Example:
        >>> BoringModel()(torch.zeros(4, 32)).shape
        torch.Size([4, 2])
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean squared error; ones where there are no labels."""
        return functional.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        return {"x": self.step(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        return {"y": self.step(batch)}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def val_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def test_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))

    def predict_dataloader(self) -> Any:
        return DataLoader(RandomDataset(32, 64))


class BoringDataModule(LightningDataModule):
    """256 random vectors: a quarter each for training, validation, testing and prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.random_full = RandomDataset(32, 64 * 4)

    def setup(self, stage: str) -> None:
        quarters = [Subset(self.random_full, range(start, start + 64)) for start in range(0, 256, 64)]
        if stage == "fit":
            self.random_train = quarters[0]
        if stage in ("fit", "validate"):
            self.random_val = quarters[1]
        if stage == "test":
            self.random_test = quarters[2]
        if stage == "predict":
            self.random_predict = quarters[3]

    def train_dataloader(self) -> Any:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> Any:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> Any:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> Any:
        return DataLoader(self.random_predict)


class BoringDataModuleNoLen(LightningDataModule):
    """512 random vectors in each pass, from loaders without a length."""

    def __init__(self) -> None:
        super().__init__()

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = RandomIterableDataset(32, 512)
        if stage in ("fit", "validate"):
            self.random_val = RandomIterableDataset(32, 128)
        if stage == "test":
            self.random_test = RandomIterableDataset(32, 256)
        if stage == "predict":
            self.random_predict = RandomIterableDataset(32, 64)

    def train_dataloader(self) -> Any:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> Any:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> Any:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> Any:
        return DataLoader(self.random_predict)


class IterableBoringDataModule(LightningDataModule):
    """Two loaders for each stage, one with a length and one without."""

    def __init__(self) -> None:
        super().__init__()

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.train_datasets = _pair(16)
        if stage in ("fit", "validate"):
            self.val_datasets = _pair(32)
        if stage == "test":
            self.test_datasets = _pair(64)
        if stage == "predict":
            self.predict_datasets = _pair(128)

    def train_dataloader(self) -> Any:
        return _loaders(self.train_datasets)

    def val_dataloader(self) -> Any:
        return _loaders(self.val_datasets)

    def test_dataloader(self) -> Any:
        return _loaders(self.test_datasets)

    def predict_dataloader(self) -> Any:
        return _loaders(self.predict_datasets)


def _pair(count: int) -> list[Any]:
    return [RandomDataset(4, count), RandomIterableDataset(4, count)]


def _loaders(datasets: list[Any]) -> list[DataLoader[Any]]:
    return [DataLoader(dataset, batch_size=1) for dataset in datasets]


class ManualOptimBoringModel(BoringModel):
    """The same model under manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        optimizer = self.optimizers()
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """One layer and a ReLU.

    Args:
        out_dim: How many numbers it gives.
        learning_rate: For Adam.
    """

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(32, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_nb: int) -> STEP_OUTPUT:
        output: Tensor = self(batch)
        return output.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class Net(nn.Module):
    """A small convolutional network for images of 28 by 28 points in ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The logarithms of the classes' probabilities."""
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.conv2(x))
        x = self.dropout1(functional.max_pool2d(x, 2))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        return functional.log_softmax(self.fc2(self.dropout2(x)), dim=1)
