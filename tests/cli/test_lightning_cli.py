"""`LightningCLI` and its parts, on their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fulmen as pl
from fulmen.cli import (
    LightningArgumentParser,
    LightningCLI,
    LRSchedulerCallable,
    OptimizerCallable,
    ReduceLROnPlateau,
    SaveConfigCallback,
)
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun

from .models import Data, Net
from .runs import QUIET, FitCLI, plain


def test_only_lightning_classes_have_arguments_of_their_own() -> None:
    parser = LightningArgumentParser()
    with pytest.raises(MisconfigurationException, match=r"parser\.add_class_arguments\(cls, key\)"):
        parser.add_lightning_class_args(torch.nn.Linear, "layer")  # type: ignore[arg-type]
    added = parser.add_lightning_class_args(pl.callbacks.EarlyStopping, "early")
    assert "early.monitor" in added and parser.callback_keys == ["early"]


def test_a_subcommand_is_a_method_of_the_trainer() -> None:
    class Odd(LightningCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {"fitt": set()}

    with pytest.raises(MisconfigurationException, match="Did you mean `fit`"):
        Odd(Net, args=["fitt"])


def test_words_that_nobody_reads_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", "--model.width=3"])
    with pytest.warns(UserWarning, match="Leave one of them out"):
        plain(*QUIET)


def test_a_scheduler_that_watches() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = ReduceLROnPlateau(optimizer, "val_loss", patience=7)
    assert (scheduler.monitor, scheduler.patience) == ("val_loss", 7)
    found = LightningCLI.configure_optimizers(Net(), optimizer, scheduler)
    assert found["lr_scheduler"] == {"scheduler": scheduler, "monitor": "val_loss"}


class Late(Net):
    """Has its layers late, and no optimizer of its own that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = None

    def configure_model(self) -> None:
        if self.layer is None:
            self.layer = torch.nn.Linear(3, 2)


def test_the_optimizer_is_made_when_the_layers_are_there() -> None:
    with pytest.warns(UserWarning, match="`Late.configure_optimizers` is replaced"):
        cli = FitCLI(
            Late, Data, args=["fit", *QUIET, "--optimizer=SGD", "--optimizer.lr=0.5"], save_config_callback=None
        )
    (optimizer,) = cli.trainer.optimizers
    assert optimizer.param_groups[0]["params"] == list(cli.model.parameters()) and optimizer.defaults["lr"] == 0.5


class Injected(Net):
    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.optimizer, self.scheduler = optimizer, scheduler

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [self.scheduler(optimizer)]


def test_what_is_injected_is_read_back() -> None:
    words = ["fit", *QUIET, "--model.optimizer=SGD", "--model.optimizer.lr=0.5"]
    cli = FitCLI(Injected, Data, args=words, save_config_callback=None)
    (path,) = Path("run").rglob("*.ckpt")
    loaded = Injected.load_from_checkpoint(path)
    (optimizer,), (scheduler,) = loaded.configure_optimizers()
    assert type(optimizer) is torch.optim.SGD and optimizer.defaults["lr"] == 0.5
    assert type(scheduler) is torch.optim.lr_scheduler.StepLR
    assert cli.model.hparams.scheduler is cli.model.scheduler


class Kept(SaveConfigCallback):
    """Keeps the configuration elsewhere as well."""

    seen: list[Any] = []

    def save_config(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.seen.append((stage, self.config.model.width))


def test_the_configuration_can_be_kept_elsewhere() -> None:
    FitCLI(
        Net, Data, args=["fit", *QUIET, "--model.width=9"], save_config_callback=Kept,
        save_config_kwargs={"save_to_log_dir": False},
    )  # fmt: skip
    assert Kept.seen == [("fit", 9)] and not Path("run/config.yaml").exists()


def test_parts_of_a_configuration_in_files_of_their_own() -> None:
    Path("data.yaml").write_text("samples: 6\n")
    FitCLI(Net, Data, args=["fit", *QUIET, "--data=data.yaml"], save_config_kwargs={"multifile": True})
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"] == "data.yaml"
    assert yaml.safe_load(Path("run/data.yaml").read_text())["samples"] == 6


def test_a_configuration_of_another_run_is_kept() -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text("another: run\n")
    with pytest.raises(MisconfiguredRun, match=r'save_config_kwargs=\{"overwrite": True\}'):
        FitCLI(Net, Data, args=["fit", *QUIET])
    assert Path("run/config.yaml").read_text() == "another: run\n"


def test_no_folder_for_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Trainer, "log_dir", None)
    with pytest.raises(MisconfiguredRun, match=r"Trainer\(default_root_dir=\.\.\.\)"):
        FitCLI(Net, Data, args=["fit", *QUIET])
