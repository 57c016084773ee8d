"""Learns to read digits of which 5 % have labels: a student is to agree with a teacher, its own running average.

The method is that of Tarvainen and Valpola, "Mean teachers are better role models" (2017). How much the agreement
counts is not set by hand: it is learned, as a price that rises while student and teacher differ by more than they may.
So there are two losses that pull in opposite directions, and each has a name and an optimizer. The images are those
that come with scikit-learn, so nothing is downloaded. Run it with `python examples/mean_teacher.py` after
`pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy

import fulmen as pl
from fulmen.loggers import CSVLogger

SEED = 5


class DigitsData(pl.LightningDataModule):
    """Images of digits, most of them without labels."""

    def __init__(self, labeled: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
        train, test = order[:1400], order[1400:]
        known = train[: round(self.hparams.labeled * len(train))]
        self.labeled = TensorDataset(images[known], labels[known])
        self.unlabeled = TensorDataset(images[train])
        self.test = TensorDataset(images[test], labels[test])

    def train_dataloader(self) -> dict[str, DataLoader[Any]]:
        """Two loaders at once; the short one begins again until the long one ends."""
        return {
            "labeled": DataLoader(self.labeled, batch_size=35, shuffle=True),
            "unlabeled": DataLoader(self.unlabeled, batch_size=70, shuffle=True),
        }

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=len(self.test))


class MeanTeacher(pl.LightningModule):
    """A student, the teacher that follows it, and the price of what they do not agree on.

    Args:
        may_differ: By how much the two may differ, as a mean of squares; None learns from the labels alone.
    """

    def __init__(self, may_differ: float | None = 0.006) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.student = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * 4 * 4, 10),
        )  # fmt: skip
        self.teacher = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(0.97)).requires_grad_(False)
        self.price = nn.Parameter(torch.zeros(()))
        self.accuracy = Accuracy(task="multiclass", num_classes=10)

    def on_train_start(self) -> None:
        self.teacher.eval()  # it knows no dropout

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        images, labels = batch["labeled"]
        loss = nn.functional.cross_entropy(self.student(noisy(images)), labels)
        if self.hparams.may_differ is None:
            return {"student": loss}
        [images] = batch["unlabeled"]
        differ = (self.student(noisy(images)).softmax(1) - self.teacher(images).softmax(1)).square().mean()
        self.log_dict({"differ": differ, "price": self.price}, prog_bar=True)
        # Each loss holds the other's variable, and trains its own.
        return {
            "student": loss + self.price.clamp(min=0) * differ,
            "price": self.price * (self.hparams.may_differ - differ),
        }

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.teacher.update_parameters(self.student)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.accuracy(self.teacher(images), labels)
        self.log("accuracy", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        return {
            "student": torch.optim.Adam(self.student.parameters(), lr=0.005),
            "price": torch.optim.SGD([self.price], lr=10.0),
        }


def noisy(images: Tensor) -> Tensor:
    """Images as no student has seen them before."""
    return images + 0.2 * torch.randn_like(images)


def train(root: Path, may_differ: float | None, max_epochs: int) -> float:
    """Trains. Returns the teacher's accuracy on images that were held out."""
    pl.seed_everything(SEED, workers=True)
    logger = CSVLogger(root, name="mean_teacher")
    trainer = pl.Trainer(max_epochs=max_epochs, logger=logger, log_every_n_steps=10)
    trainer.fit(MeanTeacher(may_differ), datamodule=DigitsData())
    return float(trainer.callback_metrics["accuracy"])


def main(root: Path, max_epochs: int = 20) -> tuple[float, float]:
    """Learns from 70 labels, and from these and 1,400 images. Returns the accuracy of both."""
    supervised = train(root, None, max_epochs)
    taught = train(root, MeanTeacher().hparams.may_differ, max_epochs)
    print(f"accuracy with 70 labels     {supervised:.4f} from these alone, {taught:.4f} with a mean teacher")
    return supervised, taught


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where logs and checkpoints go")
    parser.add_argument("--max-epochs", type=int, default=20, help="passes over the images")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs)
