"""The script that both frameworks run for their command lines: all of it but the name of the package."""

SCRIPT = """
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Optional

import torch
from torch.utils.data import DataLoader, TensorDataset

import PACKAGE as pl
from PACKAGE.cli import (
    ArgsType,
    LightningArgumentParser,
    LRSchedulerCallable,
    OptimizerCallable,
    SaveConfigCallback,
    instantiate_class,
)
from PACKAGE.cli import LightningCLI as WholeCLI


class LightningCLI(WholeCLI):
    @staticmethod
    def subcommands():
        # each takes its time to be made
        return {name: skip for name, skip in WholeCLI.subcommands().items() if name in ("fit", "test")}


class Net(pl.LightningModule):
    '''A net.

    Args:
        width: How wide.
        lr: The rate.
        act: What follows.
    '''

    def __init__(self, width: int = 4, lr: float = 0.1, act: Optional[torch.nn.Module] = None):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(3, width)
        self.act = act

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[0]).pow(2).mean())

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return self.layer(batch[0])


class Ready(Net):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class OfNoOtherScript(Net):
    pass


class Injected(Net):
    def __init__(
        self,
        width: int = 4,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
    ):
        super().__init__(width)
        self.optimizer, self.scheduler = optimizer, scheduler

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}


class TwoOptimizers(Net):
    def __init__(self, first: dict, second: dict, schedule: dict):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.bias = torch.nn.Linear(3, 4)
        self.first, self.second, self.schedule = first, second, schedule

    def training_step(self, batch, batch_idx):
        for optimizer, layer in zip(self.optimizers(), (self.layer, self.bias)):
            optimizer.zero_grad()
            self.manual_backward(layer(batch[0]).pow(2).mean())
            optimizer.step()

    def configure_optimizers(self):
        first = instantiate_class(self.layer.parameters(), self.first)
        second = instantiate_class(self.bias.parameters(), self.second)
        return [first, second], [instantiate_class(first, self.schedule)]


class Data(pl.LightningDataModule):
    def __init__(self, samples: int = 8, batch_size: int = 2, folder: Optional[Path] = None):
        super().__init__()
        self.save_hyperparameters(ignore="folder")

    def loader(self):
        values = torch.arange(self.hparams.samples * 3.0).reshape(-1, 3) / 10
        return DataLoader(TensorDataset(values), batch_size=self.hparams.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class LinkedCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.batch_size", "model.width")
        parser.link_arguments("data.samples", "model.lr", compute_fn=lambda samples: 1 / samples)
        parser.add_argument("--extra", type=int, default=1)


class MadeFirstCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments(
            "data", "model.width", compute_fn=lambda data: data.hparams.samples, apply_on="instantiate"
        )


class DefaultsCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_optimizer_args(torch.optim.Adam)
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.ExponentialLR)
        parser.set_defaults({"optimizer.lr": 0.3, "lr_scheduler.gamma": 0.5, "model.width": 2})


class TwoCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_optimizer_args((torch.optim.Adam, torch.optim.SGD), "first", link_to="model.first")
        parser.add_optimizer_args(torch.optim.SGD, "second", link_to="model.second")
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.StepLR, "schedule", link_to="model.schedule")


class ForcedCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_lightning_class_args(pl.callbacks.EarlyStopping, "early")
        parser.set_defaults({"early.monitor": "val_loss"})


class Scanner(pl.Trainer):
    def scan(self, model: pl.LightningModule, datamodule: pl.LightningDataModule, depth: int = 3):
        '''Scans.

        Args:
            depth: How deep.
        '''
        self.scanned = type(model).__name__, type(datamodule).__name__, depth


class HooksCLI(LightningCLI):
    heard = []

    @staticmethod
    def subcommands():
        return {**LightningCLI.subcommands(), "scan": {"model", "datamodule"}}

    def before_instantiate_classes(self):
        self.heard.append(("before_instantiate_classes", sorted(self.config[self.subcommand].trainer.keys())[:2]))

    def after_instantiate_classes(self):
        self.heard.append(("after_instantiate_classes", type(self.trainer).__name__, type(self.model).__name__))

    def before_scan(self):
        self.heard.append("before_scan")

    def scan(self, **kwargs):
        self.trainer.scan(**kwargs)
        self.heard.append(("scan", sorted(kwargs), self.trainer.scanned))

    def after_scan(self):
        self.heard.append("after_scan")

    def after_fit(self):
        self.heard.append("after_fit")


class PlateauCLI(LightningCLI):
    @staticmethod
    def configure_optimizers(lightning_module, optimizer, lr_scheduler=None):
        assert type(lightning_module) is Net
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}


def make_trainer(max_epochs: int = 3, **kwargs) -> pl.Trainer:
    return pl.Trainer(max_epochs=max_epochs, logger=False)


def make_another(size: int = 6) -> Net:
    return Ready(size)


def make_model(size: int = 6) -> Net:
    return Ready(size)
"""
