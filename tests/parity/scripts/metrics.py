"""Collections of metrics: cloned with prefixes, logged as one, with some computed by hand at the end of an epoch."""

from pathlib import Path

import lightning.pytorch as pl
import torch
from figures import report
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassPrecision


class Measured(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 3)
        metrics = MetricCollection([MulticlassAccuracy(3, average="micro"), MulticlassPrecision(3)])
        self.train_metrics = metrics.clone(prefix="train_")
        self.valid_metrics = metrics.clone(prefix="val_")
        self.confusion = MulticlassConfusionMatrix(3)
        self.mean_loss = MeanMetric()
        self.steps, self.matrices, self.computed = [], [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.mean_loss.update(loss.detach(), weight=len(x))
        values = self.train_metrics(logits, y)
        self.log_dict(values, on_step=True, on_epoch=False)
        self.steps.append({"loss": loss.item(), **values})
        return loss

    def on_train_epoch_end(self):
        self.log("mean_loss", self.mean_loss.compute())
        self.computed.append(self.mean_loss.compute())
        self.mean_loss.reset()
        self.train_metrics.reset()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        self.valid_metrics.update(logits, y)
        self.confusion.update(logits, y)
        self.log_dict(self.valid_metrics, on_step=False, on_epoch=True)

    def on_validation_epoch_end(self):
        self.matrices.append(self.confusion.compute())
        self.confusion.reset()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.3)


if __name__ == "__main__":
    pl.seed_everything(23)
    x = torch.randn(60, 6)
    data = TensorDataset(x, x[:, :3].argmax(1))
    model = Measured()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=3, log_every_n_steps=1, num_sanity_val_steps=0, enable_checkpointing=False,
        logger=CSVLogger("logs"), enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, 20, shuffle=True), DataLoader(data, 30))
    table = Path(trainer.log_dir, "metrics.csv").read_text().splitlines()
    report(
        model, steps=model.steps, matrices=model.matrices, computed=model.computed, metrics=trainer.callback_metrics,
        columns=sorted(table[0].split(",")), rows=len(table),
    )  # fmt: skip
