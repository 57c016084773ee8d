"""Averages of weights: stochastic weight averaging, an exponential average by a callback of one's own."""

import copy

import lightning.pytorch as pl
import torch
from figures import report
from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class EMA(Callback):
    def __init__(self, decay=0.9):
        self.decay, self.average = decay, None

    def on_fit_start(self, trainer, pl_module):
        self.average = copy.deepcopy(pl_module.state_dict())

    @torch.no_grad()
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        for name, value in pl_module.state_dict().items():
            self.average[name].mul_(self.decay).add_(value, alpha=1 - self.decay)

    def on_validation_epoch_start(self, trainer, pl_module):
        self.kept = copy.deepcopy(pl_module.state_dict())
        pl_module.load_state_dict(self.average)

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.load_state_dict(self.kept)


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        self.losses, self.validated = [], []

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.net(batch[0]).sum().item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def train(callback, validate):
    pl.seed_everything(13)
    x = torch.randn(40, 4)
    data = TensorDataset(x, (x.sum(1) > 0).long())
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=5, callbacks=[callback], logger=False, enable_checkpointing=False,
        limit_val_batches=2 if validate else 0, num_sanity_val_steps=0, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    model = Net()
    trainer.fit(model, DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=20))
    return model


if __name__ == "__main__":
    # rows 50 and 51 of docs/differences.md are about validation, and about runs that end early: neither is here
    swa = train(StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2, annealing_epochs=2), validate=False)
    ema = EMA()
    other = train(ema, validate=True)
    report(swa, losses=(swa.losses, other.losses), validated=other.validated, average=ema.average)
