"""A classifier of a table: scikit-learn's data in a data module, TorchMetrics, the best checkpoint tested."""

import pytorch_lightning as pl
import torch
import torchmetrics
from figures import report
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class WineData(pl.LightningDataModule):
    def __init__(self, batch_size: int = 32, seed: int = 0):
        super().__init__()
        self.batch_size, self.seed = batch_size, seed

    def prepare_data(self):
        load_wine()

    def setup(self, stage):
        x, y = load_wine(return_X_y=True)
        x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=self.seed, stratify=y)
        scaler = StandardScaler().fit(x_train)
        self.sets = {
            name: TensorDataset(torch.tensor(scaler.transform(a), dtype=torch.float32), torch.tensor(b))
            for name, a, b in (("train", x_train[:96], y_train[:96]), ("test", x_test, y_test))
        }
        self.dims = x.shape[1]

    def train_dataloader(self):
        return DataLoader(self.sets["train"], self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.sets["test"], self.batch_size)

    test_dataloader = val_dataloader


class MLP(pl.LightningModule):
    def __init__(self, features: int = 13, classes: int = 3, hidden: int = 16, dropout: float = 0.2, lr: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.05)
        self.train_acc = torchmetrics.Accuracy(task="multiclass", num_classes=classes)
        self.val_acc = torchmetrics.Accuracy(task="multiclass", num_classes=classes)
        self.test_f1 = torchmetrics.F1Score(task="multiclass", num_classes=classes, average="macro")
        self.seen = []

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = self.loss(logits, y)
        self.train_acc(logits, y)
        self.log("train_loss", loss)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        return {"loss": loss, "logits": logits.detach()}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.seen.append((outputs["loss"].item(), outputs["logits"].sum().item()))

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.val_acc.update(self(x), y)
        self.log("val_acc", self.val_acc, prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.test_f1.update(self(x), y)
        self.log("test_f1", self.test_f1)

    def configure_optimizers(self):
        optimizer = torch.optim.RMSprop(self.parameters(), lr=self.hparams["lr"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7), "frequency": 2},
        }


if __name__ == "__main__":
    pl.seed_everything(7, workers=True)
    best = pl.callbacks.ModelCheckpoint(dirpath="best", monitor="val_acc", mode="max", filename="{epoch}-{val_acc:.3f}")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=5, callbacks=[best], logger=False, enable_progress_bar=False,
        enable_model_summary=False, deterministic=True,
    )  # fmt: skip
    model, data = MLP(), WineData()
    trainer.fit(model, data)
    results = trainer.test(ckpt_path="best", datamodule=data, verbose=False)
    loaded = MLP.load_from_checkpoint(best.best_model_path, dropout=0.0)
    torch.use_deterministic_algorithms(False)
    report(
        loaded, last=model.state_dict(), seen=model.seen, test=results, name=best.best_model_path.split("/")[-1],
        score=best.best_model_score, ranks=sorted(best.best_k_models.values()), dropout=loaded.hparams.dropout,
    )  # fmt: skip
