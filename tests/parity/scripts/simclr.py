"""Contrastive learning: two views of each sample, a temperature, a rate for each layer, and a linear probe after."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from figures import report
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class TwoViews(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def augment(self, x):
        return x * (torch.rand(x.shape) > 0.2) + 0.1 * torch.randn(x.shape)

    def __getitem__(self, index):
        return self.augment(self.data[index]), self.augment(self.data[index])


class SimCLR(pl.LightningModule):
    def __init__(self, width=16, temperature=0.2, lr=0.01, warmup=2):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU())
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
        self.losses, self.tops = [], []

    def info_nce(self, batch):
        views = torch.cat(batch)
        features = self.projection(self.encoder(views))
        similarity = F.cosine_similarity(features[:, None, :], features[None, :, :], dim=-1)
        itself = torch.eye(len(views), dtype=torch.bool, device=self.device)
        similarity = similarity.masked_fill(itself, -9e15)
        partner = itself.roll(shifts=len(views) // 2, dims=0)
        similarity = similarity / self.hparams.temperature
        nll = (-similarity[partner] + torch.logsumexp(similarity, dim=-1)).mean()
        rank = (similarity > similarity[partner].unsqueeze(1)).sum(1)
        self.log("train_loss", nll)
        self.log("top1", (rank == 0).float().mean(), on_step=True, on_epoch=True)
        self.tops.append((rank == 0).sum().item())
        return nll

    def training_step(self, batch, batch_idx):
        loss = self.info_nce(batch)
        self.losses.append(loss.item())
        return loss

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        if self.trainer.global_step < self.hparams.warmup:
            scale = (self.trainer.global_step + 1) / self.hparams.warmup
            for group in optimizer.param_groups:
                group["lr"] = scale * self.hparams.lr
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        optimizer.zero_grad(set_to_none=False)

    def configure_optimizers(self):
        groups = [
            {"params": self.encoder.parameters(), "lr": self.hparams.lr},
            {"params": self.projection.parameters()},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams.lr * 2, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3, eta_min=1e-4)
        return [optimizer], [{"scheduler": schedule, "interval": "epoch"}]


class Probe(pl.LightningModule):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(16, 2)
        self.encoder.requires_grad_(False)
        self.losses = []

    def on_train_epoch_start(self):
        self.encoder.eval()

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.head(self.encoder(batch[0])), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.2)


if __name__ == "__main__":
    pl.seed_everything(10)
    options = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False,
    }  # fmt: skip
    x = torch.randn(48, 8)
    model = SimCLR()
    pl.Trainer(max_epochs=3, **options).fit(model, DataLoader(TwoViews(x), 12, shuffle=True, drop_last=True))
    probe = Probe(model.encoder)
    pl.Trainer(max_steps=5, **options).fit(probe, DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 16))
    report(model, losses=model.losses, tops=model.tops, probe=(probe.losses, probe.state_dict()))
