"""The command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fulmen import callbacks as cb
from fulmen.cli import (
    LightningArgumentParser,
    LightningCLI,
    ReduceLROnPlateau,
    instantiate_class,
    instantiate_module,
)
from fulmen.demos.boring_classes import BoringDataModule, DemoModel

QUIET = [
    *("--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"),
    *("--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"),
    *("--trainer.enable_model_summary=false", "--trainer.enable_checkpointing=false"),
]


class Model(DemoModel):
    """Logs what its scheduler waits for."""

    def training_step(self, batch: Any, batch_nb: int) -> Any:
        loss = super().training_step(batch, batch_nb)
        self.log("train_loss", loss)
        return loss


class CLI(LightningCLI):
    """A command line with `fit` alone, and a callback of its own."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": LightningCLI.subcommands()["fit"]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_optimizer_args(torch.optim.SGD)
        parser.add_lr_scheduler_args(ReduceLROnPlateau)
        parser.add_lightning_class_args(cb.LearningRateMonitor, "monitor")


def command_line(folder: Path) -> None:
    """A run with its optimizer and scheduler from the command line, and its configuration."""
    rates = ["--optimizer.lr=0.1", "--lr_scheduler.monitor=train_loss", f"--trainer.default_root_dir={folder}"]
    cli = CLI(Model, BoringDataModule, args=["fit", *QUIET, *rates], auto_configure_optimizers=True)
    assert cli.trainer.state.finished and list(folder.rglob("config.yaml"))
    instantiated: Any = instantiate_class(
        cli.model.parameters(), {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    )
    assert isinstance(instantiated, torch.optim.SGD)
    assert isinstance(instantiate_module(DemoModel, {}), DemoModel)
