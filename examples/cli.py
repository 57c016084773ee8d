"""The digits of scikit-learn again, as a program whose settings are on its command line and in a file.

    python examples/cli.py fit --config examples/cli.yaml
    python examples/cli.py fit --config examples/cli.yaml --model.hidden 128 --optimizer SGD --optimizer.lr 0.1
    python examples/cli.py test --config examples/cli.yaml --ckpt_path runs/cli/version_0/checkpoints/last.ckpt
    python examples/cli.py fit --help

The configuration of each run is written beside its logs, so that any run can be had again from its own `config.yaml`.
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

import fulmen as pl
from fulmen.cli import ArgsType, LightningArgumentParser, LightningCLI


class Digits(pl.LightningDataModule):
    """The 1,797 images of handwritten digits that come with scikit-learn.

    Args:
        batch_size: How many images a step sees.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """Reads and splits the images, always in the same way."""
        digits = load_digits()
        images = torch.tensor(digits.data, dtype=torch.float32) / 16
        split = torch.Generator().manual_seed(0)
        data = TensorDataset(images, torch.tensor(digits.target))
        self.train, self.val, self.test = random_split(data, [0.7, 0.15, 0.15], split)

    def loader(self, dataset: Dataset[Any], shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(dataset, batch_size=self.hparams.batch_size, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.test)


class Classifier(pl.LightningModule):
    """Two layers; the optimizer is chosen on the command line.

    Args:
        hidden: How wide the layer in the middle is.
        activation: What follows it, as `--model.activation Tanh`.
        batch_size: Linked to that of the data.
    """

    def __init__(self, hidden: int = 64, activation: nn.Module | None = None, batch_size: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(64, hidden), activation or nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss, batch_size=self.hparams.batch_size)
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> None:
        images, labels = batch
        scores = self.network(images)
        self.log(f"{stage}_loss", nn.functional.cross_entropy(scores, labels))
        self.log(f"{stage}_accuracy", (scores.argmax(1) == labels).float().mean(), prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")


class DigitsCLI(LightningCLI):
    """A command line on which two settings are linked."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.batch_size", "model.batch_size")


def main(args: ArgsType = None) -> DigitsCLI:
    """Runs the command line; the arguments are those of the program unless some are given."""
    return DigitsCLI(Classifier, Digits, args=args)


if __name__ == "__main__":
    main()
