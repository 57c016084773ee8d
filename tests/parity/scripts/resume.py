"""A run in two parts: stopped after two epochs, gone on from the last checkpoint, beside one that was not stopped."""

import lightning.pytorch as pl
import torch
from figures import report
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self, width: int = 6):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.smooth_l1_loss(self.net(x), y)
        self.losses.append(loss.item())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.02, amsgrad=True)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=40)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["so_far"] = len(self.losses)

    def on_load_checkpoint(self, checkpoint):
        self.found = checkpoint["so_far"]


def run(epochs, folder, ckpt_path=None, seed=1):
    pl.seed_everything(seed)
    model = Net()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[ModelCheckpoint(folder, save_last=True, every_n_epochs=1)],
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    x = torch.linspace(-1, 1, 60).view(20, 3)
    trainer.fit(model, DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4), ckpt_path=ckpt_path)
    return model, trainer


if __name__ == "__main__":
    whole, _ = run(4, "whole")
    first, trainer = run(2, "parts")
    second, trainer = run(4, "parts", ckpt_path=trainer.checkpoint_callback.last_model_path, seed=99)
    checkpoint = torch.load("parts/last.ckpt", weights_only=False)
    assert whole.losses == first.losses + second.losses
    report(
        second, losses=whole.losses, found=second.found, epoch=checkpoint["epoch"], step=checkpoint["global_step"],
        width=checkpoint["hyper_parameters"], rate=checkpoint["lr_schedulers"][0]["_last_lr"],
        moments=[list(state.values()) for state in checkpoint["optimizer_states"][0]["state"].values()],
    )  # fmt: skip
