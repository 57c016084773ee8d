"""Tells malignant from benign tumours by measurements of their cells, and says which measurements count.

The data are the 569 cases with 30 measurements each that come with scikit-learn. Each of five networks is trained on
four fifths of the cases and judges the rest, so that every case is judged once by a network that has not seen it. Run
it with `python examples/tabular.py` after `pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryAUROC

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.loggers import CSVLogger

SEED = 0


class Fold(pl.LightningDataModule):
    """The cases of one fold: those to train on, of which some decide when to stop, and those to be judged."""

    def __init__(self, train: Any, held_out: Any, batch_size: int = 32) -> None:
        super().__init__()
        inputs, labels = (torch.tensor(np.asarray(part), dtype=torch.float32) for part in train)
        # From the cases of training alone: what is judged later must not have a say in it.
        self.mean, self.std = inputs.mean(0), inputs.std(0)
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(SEED))
        stop, rest = order[: len(order) // 6], order[len(order) // 6 :]
        self.training = TensorDataset(self.scaled(inputs[rest]), labels[rest])
        self.stopping = TensorDataset(self.scaled(inputs[stop]), labels[stop])
        self.held_out = torch.tensor(np.asarray(held_out), dtype=torch.float32)
        self.batch_size = batch_size

    def scaled(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.std

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.stopping, len(self.stopping))

    def predict_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(self.scaled(self.held_out)), 256)


class Network(pl.LightningModule):
    """Two layers with dropout, and a score: above 0 means benign."""

    def __init__(self, features: int, width: int = 32, learning_rate: float = 0.003) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.SiLU(), nn.Dropout(0.3),
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(0.3),
            nn.Linear(width, 1),
        )  # fmt: skip
        self.auroc = BinaryAUROC()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs).squeeze(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self(inputs), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        inputs, labels = batch
        scores = self(inputs)
        self.auroc(scores, labels.long())
        self.log("val_loss", nn.functional.binary_cross_entropy_with_logits(scores, labels))
        self.log("val_auroc", self.auroc)

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate, weight_decay=0.05)


def judge(root: Path, fold: Fold, max_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Trains on a fold. Returns the scores of its held-out cases, and by how much each measurement moves them."""
    model = Network(fold.held_out.shape[1])
    best = ModelCheckpoint(monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=max_epochs, logger=CSVLogger(root, name="tabular"), log_every_n_steps=5,
        callbacks=[best, EarlyStopping("val_loss", patience=10)], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=fold)
    scores = torch.cat(trainer.predict(model, datamodule=fold, ckpt_path="best"))

    model.cpu().eval()
    inputs = fold.scaled(fold.held_out).requires_grad_()
    model(inputs).sum().backward()
    assert inputs.grad is not None
    return scores.numpy(), inputs.grad.abs().mean(0).numpy()


def main(root: Path, folds: int = 5, max_epochs: int = 100) -> tuple[float, float]:
    """Judges all cases. Returns the area under the ROC curve of the networks, and of logistic regression."""
    logging.getLogger("fulmen").setLevel(logging.WARNING)  # one line about the device for each fold is enough of it
    pl.seed_everything(SEED)
    cases = load_breast_cancer()
    scores, linear = np.zeros(len(cases.target)), np.zeros(len(cases.target))
    influence = np.zeros(cases.data.shape[1])
    for train, held_out in StratifiedKFold(folds, shuffle=True, random_state=SEED).split(cases.data, cases.target):
        fold = Fold((cases.data[train], cases.target[train]), cases.data[held_out])
        scores[held_out], moved = judge(root, fold, max_epochs)
        influence += moved / folds
        scaled = (cases.data - fold.mean.numpy()) / fold.std.numpy()
        model = LogisticRegression().fit(scaled[train], cases.target[train])
        linear[held_out] = model.decision_function(scaled[held_out])

    area, baseline = (float(roc_auc_score(cases.target, judged)) for judged in (scores, linear))
    print(f"area under the ROC curve   {area:.4f}")
    print(f"of logistic regression     {baseline:.4f}")
    print(f"judged right               {((scores > 0) == cases.target).mean():.4f}")
    print("what moves the score most")
    for feature in influence.argsort()[::-1][:5]:
        print(f"  {cases.feature_names[feature]:<25}{influence[feature]:.2f}")
    return area, baseline


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where logs and checkpoints go")
    parser.add_argument("--folds", type=int, default=5, help="how many networks share the cases")
    parser.add_argument("--max-epochs", type=int, default=100, help="passes over the cases of a fold, at most")
    arguments = parser.parse_args()
    main(arguments.root, arguments.folds, arguments.max_epochs)
