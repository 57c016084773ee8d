"""A small U-Net that finds discs in noise, with a data module, class weights and a Dice score."""

from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from figures import report
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, Dataset


class Discs(Dataset):
    def __init__(self, count, size=16, seed=0):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.arange(size).view(-1, 1)
        centers = torch.randint(4, 12, (count, 2), generator=generator)
        self.masks = torch.stack([(rows - c[0]) ** 2 + (rows.T - c[1]) ** 2 < 16 for c in centers]).long()
        self.images = self.masks.float().unsqueeze(1) + torch.randn(count, 1, size, size, generator=generator) * 0.5

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        return {"image": self.images[index], "mask": self.masks[index]}


class DiscData(LightningDataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage=None):
        if stage in ("fit", None):
            self.train, self.val = Discs(32, seed=1), Discs(8, seed=2)
        if stage in ("test", None):
            self.test = Discs(8, seed=3)

    def train_dataloader(self):
        return DataLoader(self.train, self.hparams.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.hparams.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test, self.hparams.batch_size)


def block(inside, outside):
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class UNet(LightningModule):
    def __init__(self, width=4, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.down1, self.down2 = block(1, width), block(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Sequential(block(2 * width, width), nn.Conv2d(width, 2, 1))
        self.losses = []

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        return self.head(torch.cat([first, self.up(second)], dim=1))

    def shared_step(self, batch, stage):
        logits = self(batch["image"])
        loss = F.cross_entropy(logits, batch["mask"], weight=torch.tensor([1.0, 2.0], device=self.device))
        found = logits.argmax(1)
        dice = 2 * (found * batch["mask"]).sum() / (found.sum() + batch["mask"].sum()).clamp(min=1)
        self.log(f"{stage}_loss", loss, prog_bar=True)
        self.log(f"{stage}_dice", dice, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch, batch_idx):
        loss = self.shared_step(batch, "train")
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        return self.shared_step(batch, "val")

    def test_step(self, batch, batch_idx):
        return self.shared_step(batch, "test")

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9, weight_decay=1e-4)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.trainer.max_epochs)
        return [optimizer], [scheduler]


if __name__ == "__main__":
    seed_everything(3)
    data, model = DiscData(), UNet()
    trainer = Trainer(
        accelerator="cpu", max_epochs=3, log_every_n_steps=1, logger=CSVLogger("logs", name="unet"),
        callbacks=[ModelCheckpoint(monitor="val_dice", mode="max", save_weights_only=True), LearningRateMonitor()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    (tested,) = trainer.test(model, datamodule=data, ckpt_path="best", verbose=False)
    rows = [row.split(",") for row in Path(trainer.log_dir, "metrics.csv").read_text().splitlines()]
    rate = rows[0].index("lr-SGD")
    report(model, losses=model.losses, rates=[row[rate] for row in rows[1:] if row[rate]], means=tested)
