"""Teaches a network that reads some digits to read others, of which there are few examples.

It learns the digits 0 to 4 from all of their images, and then 5 to 9 from a few: first a new head on a frozen backbone,
then the backbone with it, with a learning rate of its own. The images are those that come with scikit-learn, so nothing
is downloaded. Run it with `python examples/finetuning.py` after `pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy

import fulmen as pl
from fulmen.callbacks import BackboneFinetuning, LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger

SEED = 5
CLASSES = 5


class DigitsData(pl.LightningDataModule):
    """Images of five digits in a row.

    Args:
        first: The first of the digits.
        examples: How many images to learn from.
    """

    def __init__(self, first: int, examples: int) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """Reads the images and splits them; always in the same way."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(digits.target) - self.hparams.first
        wanted = ((labels >= 0) & (labels < CLASSES)).nonzero().flatten()
        wanted = wanted[torch.randperm(len(wanted), generator=torch.Generator().manual_seed(SEED))]
        held_out = len(wanted) // 3
        train = wanted[held_out : held_out + self.hparams.examples]
        self.train = TensorDataset(images[train], labels[train])
        self.test = TensorDataset(images[wanted[:held_out]], labels[wanted[:held_out]])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=128)


class Reader(pl.LightningModule):
    """A backbone of convolutions, and a head that names the digit."""

    def __init__(self, learning_rate: float = 0.003) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(32 * 4 * 4, CLASSES)
        self.accuracy = Accuracy(task="multiclass", num_classes=CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        self.accuracy(self(images), labels)
        self.log("accuracy", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """The optimizer begins with what is trained from the start; a backbone that is unfrozen joins it."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=self.hparams.learning_rate)


def pretrain(root: Path, max_epochs: int) -> tuple[str, float]:
    """Learns the digits 0 to 4. Returns the checkpoint, and the accuracy on images that were held out."""
    saving = ModelCheckpoint(root / "pretrained", filename="reader")
    trainer = pl.Trainer(max_epochs=max_epochs, logger=CSVLogger(root, name="pretraining"), callbacks=[saving])
    trainer.fit(Reader(), datamodule=DigitsData(first=0, examples=600))
    return saving.best_model_path, float(trainer.callback_metrics["accuracy"])


def finetune(root: Path, checkpoint: str, max_epochs: int, examples: int) -> float:
    """Learns the digits 5 to 9. Returns the accuracy on images that were held out."""
    model = Reader.load_from_checkpoint(checkpoint)
    model.head.reset_parameters()  # it is to name other digits
    finetuning = BackboneFinetuning(
        unfreeze_backbone_at_epoch=max_epochs // 2, lambda_func=lambda epoch: 1.5, backbone_initial_ratio_lr=0.1
    )
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        logger=CSVLogger(root, name="finetuning"),
        callbacks=[finetuning, LearningRateMonitor(), ModelCheckpoint(monitor="accuracy", mode="max")],
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=DigitsData(first=5, examples=examples))
    return float(trainer.callback_metrics["accuracy"])


def main(root: Path, max_epochs: int = 10, examples: int = 60) -> tuple[float, float]:
    """Learns five digits, and then five others. Returns the accuracy on each."""
    pl.seed_everything(SEED, workers=True)
    checkpoint, before = pretrain(root, max_epochs)
    after = finetune(root, checkpoint, max_epochs, examples)
    print(f"digits 0 to 4     {before:.4f}, from 600 images")
    print(f"digits 5 to 9     {after:.4f}, from {examples} images")
    print(f"learning rates    {root}/finetuning/version_0/metrics.csv")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/finetuning"), help="where logs and checkpoints go")
    parser.add_argument("--max-epochs", type=int, default=10, help="passes over the images, in each part")
    parser.add_argument("--examples", type=int, default=60, help="images of the digits 5 to 9 to learn from")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs, arguments.examples)
