"""A program on ``LightningCLI``: a configuration file, a subcommand, options on top, links, and a second command."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from figures import report
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from torch.utils.data import DataLoader, TensorDataset

CONFIG = """
seed_everything: 5
trainer:
  accelerator: cpu
  max_epochs: 3
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args:
        dirpath: kept
        save_last: true
    - class_path: EarlyStopping
      init_args:
        monitor: val_loss
        patience: 9
model:
  hidden: 6
data:
  samples: 24
"""


class Regressor(pl.LightningModule):
    def __init__(self, features: int, hidden: int = 4, activation: torch.nn.Module = torch.nn.ReLU()):  # noqa: B008
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(features, hidden), activation, torch.nn.Linear(hidden, 1))
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.net(x), y)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(x), y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", torch.nn.functional.mse_loss(self.net(x), y))


class Sines(pl.LightningDataModule):
    def __init__(self, samples: int = 16, features: int = 2, batch_size: int = 8):
        super().__init__()
        self.samples, self.features, self.batch_size = samples, features, batch_size

    def setup(self, stage: str) -> None:
        x = torch.linspace(0, 3, self.samples * self.features).view(-1, self.features)
        self.data = TensorDataset(x, x.sin().sum(1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.data, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data, self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.data, self.batch_size)


class App(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.features", "model.features")
        parser.add_optimizer_args(torch.optim.Adam)
        parser.set_defaults({"optimizer.lr": 0.05})


def main(words):
    sys.argv = ["cli_app.py", *words]
    return App(Regressor, Sines, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    Path("config.yaml").write_text(CONFIG)
    options = ["--config=config.yaml", "--model.activation=torch.nn.Tanh", "--optimizer.lr=0.02"]
    app = main(["fit", *options, "--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.9"])
    losses = app.model.losses
    tested = main(["test", "--config=config.yaml", "--model.activation=torch.nn.Tanh", "--ckpt_path=kept/last.ckpt"])
    report(
        tested.model, losses=losses, rate=app.trainer.optimizers[0].param_groups[0]["lr"],
        files=sorted(path.name for path in Path("kept").iterdir()), means=tested.trainer.callback_metrics,
    )  # fmt: skip
