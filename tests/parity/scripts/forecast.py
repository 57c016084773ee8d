"""A forecast with an LSTM: early stopping, the best checkpoint reloaded, predictions of the last window."""

import lightning.pytorch as pl
import torch
from figures import report
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    def __init__(self, series, length):
        self.series, self.length = series, length

    def __len__(self):
        return len(self.series) - self.length

    def __getitem__(self, i):
        return self.series[i : i + self.length].unsqueeze(-1), self.series[i + self.length]


class Forecaster(pl.LightningModule):
    def __init__(self, hidden_size=8, learning_rate=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.lstm = nn.LSTM(1, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, 1)
        self.losses = []

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.out(states[:, -1]).squeeze(-1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss, on_epoch=True)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.l1_loss(self(x), y), prog_bar=True)

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss", "interval": "epoch", "strict": True},
        }


if __name__ == "__main__":
    pl.seed_everything(21)
    series = torch.sin(torch.arange(80) * 0.3) + 0.05 * torch.randn(80)
    train = DataLoader(Windows(series[:56], 8), batch_size=16, shuffle=True)
    val = DataLoader(Windows(series[56:], 8), batch_size=16)
    stop = EarlyStopping("val_loss", min_delta=0.02, patience=2)
    best = ModelCheckpoint("best", filename="lstm", monitor="val_loss", save_top_k=2)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=20, callbacks=[stop, best], gradient_clip_val=0.5,
        gradient_clip_algorithm="value", logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = Forecaster()
    trainer.fit(model, train, val)
    reloaded = Forecaster.load_from_checkpoint(best.best_model_path)
    found = torch.cat(trainer.predict(reloaded, val))
    report(
        reloaded, losses=model.losses, stopped=(stop.stopped_epoch, stop.wait_count, trainer.current_epoch),
        files=sorted(path.split("/")[-1] for path in best.best_k_models), found=found, last=model.state_dict(),
        means={"best": best.best_model_score, "stop": stop.best_score},
    )  # fmt: skip
