"""The Tuner: a range test for the learning rate, its suggestion used for training, and a batch size by trials."""

import pytorch_lightning as pl
import torch
from figures import report
from pytorch_lightning.tuner import Tuner
from torch.utils.data import DataLoader, TensorDataset


class Slope(pl.LightningModule):
    def __init__(self, lr=1e-3, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.net(x), y)
        self.losses.append(loss.item())
        return loss

    def train_dataloader(self):
        x = torch.linspace(-2, 2, 256).view(128, 2)
        return DataLoader(TensorDataset(x, x.prod(1, keepdim=True)), batch_size=self.hparams.batch_size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    pl.seed_everything(17)
    model = Slope()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    tuner = Tuner(trainer)
    found = tuner.lr_find(model, min_lr=1e-4, max_lr=1.0, num_training=25, update_attr=True)
    model.losses = []
    trainer.fit(model)
    report(
        model, losses=model.losses, tried=found.results["lr"], seen=found.results["loss"], best=found.suggestion(),
        rate=model.hparams.lr, steps=trainer.global_step,
    )  # fmt: skip
