"""Trains as tutorials of 2021 wrote it, for Lightning 1.5: run it as it is, with Fulmen.

    fulmen run examples/legacy_15.py --max_epochs 3 --gpus 0

It trains an autoencoder and a classifier of its codes on handwritten digits, with an optimizer each. Fulmen says once
for each old feature how it is written today. The data are the 1,797 images of 8 x 8 pixels that come with scikit-learn.
"""

from argparse import ArgumentParser

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.metrics import Accuracy
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitsDataModule(pl.LightningDataModule):
    """Splits the digits."""

    def __init__(self, batch_size=64):
        super().__init__()
        self.batch_size = batch_size
        self.dims = (1, 8, 8)

    def setup(self, stage=None):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        data = TensorDataset(images, torch.tensor(digits.target))
        generator = torch.Generator().manual_seed(0)
        self.train, self.val = random_split(data, [1500, len(data) - 1500], generator=generator)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.batch_size)


class LitDigits(pl.LightningModule):
    """An autoencoder, and a classifier of its codes, each with an optimizer of its own."""

    def __init__(self, hidden_dim=64, learning_rate=2e-3, **kwargs):
        super().__init__()
        self.save_hyperparameters("hidden_dim", "learning_rate")
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden_dim), nn.ReLU())
        self.decoder = nn.Linear(hidden_dim, 64)
        self.classifier = nn.Linear(hidden_dim, 10)
        self.train_acc = Accuracy()
        self.val_acc = Accuracy()

    def forward(self, x):
        return self.classifier(self.encoder(x))

    def training_step(self, batch, batch_idx, optimizer_idx):
        x, y = batch
        if optimizer_idx == 0:
            loss = F.mse_loss(self.decoder(self.encoder(x)), x.flatten(1))
            self.log("reconstruction_loss", loss)
        if optimizer_idx == 1:
            logits = self(x)
            loss = F.cross_entropy(logits, y)
            self.train_acc(logits.softmax(-1), y)
            self.log("train_acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return {"loss": loss}

    def training_epoch_end(self, outputs):
        for name, steps in zip(("autoencoder", "classifier"), zip(*outputs)):
            self.log(f"{name}_loss", torch.stack([step["loss"] for step in steps]).mean())

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.val_acc(logits.argmax(-1), y)
        return {"val_loss": F.cross_entropy(logits, y), "batch_size": len(x)}

    def validation_epoch_end(self, outputs):
        weights = torch.tensor([float(out["batch_size"]) for out in outputs])
        losses = torch.stack([out["val_loss"].cpu() for out in outputs])
        self.log("val_loss", (losses * weights).sum() / weights.sum(), prog_bar=True)
        self.log("val_acc", self.val_acc.compute(), prog_bar=True)
        self.val_acc.reset()

    def configure_optimizers(self):
        autoencoder = torch.optim.Adam(
            list(self.encoder.parameters()) + list(self.decoder.parameters()), lr=self.hparams.learning_rate
        )
        classifier = torch.optim.Adam(
            list(self.encoder.parameters()) + list(self.classifier.parameters()), lr=self.hparams.learning_rate
        )
        return [autoencoder, classifier], []

    @staticmethod
    def add_model_specific_args(parent_parser):
        parser = parent_parser.add_argument_group("LitDigits")
        parser.add_argument("--hidden_dim", type=int, default=64)
        parser.add_argument("--learning_rate", type=float, default=2e-3)
        return parent_parser


def cli_main(args=None):
    """Trains, and goes on from the best checkpoint for one epoch more."""
    pl.seed_everything(1234)
    parser = ArgumentParser()
    parser.add_argument("--batch_size", default=64, type=int)
    parser = pl.Trainer.add_argparse_args(parser)
    parser = LitDigits.add_model_specific_args(parser)
    args = parser.parse_args(args)

    dm = DigitsDataModule(batch_size=args.batch_size)
    model = LitDigits(**vars(args))
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max")
    trainer = pl.Trainer.from_argparse_args(args, callbacks=[checkpoint], progress_bar_refresh_rate=0)
    trainer.fit(model, dm)
    print(f"validation accuracy after {trainer.current_epoch} epochs: {trainer.callback_metrics['val_acc']:.3f}")

    longer = pl.Trainer(
        gpus=args.gpus,
        max_epochs=trainer.max_epochs + 1,
        resume_from_checkpoint=checkpoint.best_model_path,
        progress_bar_refresh_rate=0,
        default_root_dir=args.default_root_dir,
    )
    longer.fit(LitDigits(**vars(args)), dm)
    print(f"validation accuracy after one more: {longer.callback_metrics['val_acc']:.3f}")


if __name__ == "__main__":
    cli_main()
