"""Learns to read handwritten digits, and keeps what it learned.

The data are the 1,797 images of 8 x 8 pixels that come with scikit-learn, so nothing is downloaded. Run it with
`make demo`, or with `python examples/digits.py` after `pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from torchmetrics import Accuracy

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger, TensorBoardLogger

SEED = 3


class DigitsData(pl.LightningDataModule):
    """Where the images come from, and which of them are for training, for validation and for the test."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """Reads the images and splits them; always in the same way, so that no test image is ever trained on."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8), from 0 to 1
        labels = torch.tensor(digits.target)
        split = torch.Generator().manual_seed(SEED)
        self.train, self.val, self.test = random_split(TensorDataset(images, labels), [0.7, 0.15, 0.15], split)

    def loader(self, dataset: Dataset[Any], shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(dataset, batch_size=self.hparams.batch_size, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.test)


class DigitsModel(pl.LightningModule):
    """What is trained, what makes it better, and what is written down meanwhile."""

    def __init__(self, learning_rate: float = 0.005, dropout: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64 * 4 * 4, 10),
        )
        self.train_accuracy = Accuracy(task="multiclass", num_classes=10)
        self.val_accuracy = Accuracy(task="multiclass", num_classes=10)
        self.test_accuracy = Accuracy(task="multiclass", num_classes=10)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        scores = self(images)
        loss = nn.functional.cross_entropy(scores, labels)
        self.train_accuracy(scores, labels)
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        scores = self(images)
        self.val_accuracy(scores, labels)
        self.log("val_loss", nn.functional.cross_entropy(scores, labels), prog_bar=True)
        self.log("val_accuracy", self.val_accuracy, prog_bar=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.test_accuracy(self(images), labels)
        self.log("test_accuracy", self.test_accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.hparams.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def read_column(metrics_csv: Path, name: str) -> tuple[list[int], list[float]]:
    """One column of the CSV log: the steps at which it was written, and its values."""
    with metrics_csv.open(newline="") as file:
        rows = [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]
    return [step for step, _ in rows], [value for _, value in rows]


def draw_curves(metrics_csv: Path, picture: Path) -> None:
    """Draws loss, accuracy and learning rate over the steps of the optimizer."""
    panels = {
        "loss": ["train_loss_step", "train_loss_epoch", "val_loss"],
        "accuracy": ["train_accuracy", "val_accuracy"],
        "learning rate": ["lr-AdamW"],
    }
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name in names:
            axes.plot(*read_column(metrics_csv, name), label=name)
        axes.set(title=title, xlabel="optimizer steps")
        axes.legend()
    figure.savefig(picture, dpi=120)


def main(root: Path, max_epochs: int = 20) -> float:
    """Trains, tests the best checkpoint and draws the curves. Returns the accuracy on the test images."""
    pl.seed_everything(SEED, workers=True)
    data = DigitsData()
    model = DigitsModel()

    csv_logger = CSVLogger(root, name="csv")
    tensorboard = TensorBoardLogger(root, name="tensorboard")
    best = ModelCheckpoint(monitor="val_accuracy", mode="max", filename="{epoch:02d}-{val_accuracy:.4f}")
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        logger=[csv_logger, tensorboard],
        callbacks=[best, EarlyStopping(monitor="val_loss", patience=8), LearningRateMonitor(logging_interval="step")],
        log_every_n_steps=5,
        deterministic=True,
    )
    trainer.fit(model, datamodule=data)
    [result] = trainer.test(datamodule=data, ckpt_path="best")

    picture = Path(csv_logger.log_dir) / "curves.png"
    draw_curves(Path(csv_logger.log_dir) / "metrics.csv", picture)

    print(f"test accuracy     {result['test_accuracy']:.4f}")
    print(f"best checkpoint   {os.path.relpath(best.best_model_path)}")
    print(f"logged values     {csv_logger.log_dir}/metrics.csv")
    print(f"curves            {picture}")
    print(f"in TensorBoard    tensorboard --logdir {tensorboard.save_dir}")
    return result["test_accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/digits"), help="where logs and checkpoints go")
    parser.add_argument("--max-epochs", type=int, default=20, help="passes over the training images, at most")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs)
