"""What the command line was given is in the checkpoint; a command line and `load_from_checkpoint` read it back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen as pl
from fulmen.cli import instantiate_module
from fulmen.utilities.exceptions import MisconfiguredRun

from .models import Block, Data, Kind, Net, doubled
from .runs import QUIET, FitCLI, TestCLI, fitted

BLOCK = [f"--model.act={__package__}.models.Block", "--model.act.scale=3", "--model.act.inner=Tanh"]


def test_load_from_checkpoint_needs_no_arguments() -> None:
    cli, path = fitted("--model.width=7", *BLOCK, "--model.folder=there", "--model.kind=FANCY")
    loaded = Net.load_from_checkpoint(path)
    assert (loaded.layer.out_features, loaded.folder, loaded.kind) == (7, Path("there"), Kind.FANCY)
    assert isinstance(loaded.act, Block) and isinstance(loaded.act.inner, nn.Tanh) and loaded.act.scale == 3
    assert loaded.hparams == cli.model.hparams  # and so are in the next checkpoint
    assert all(torch.equal(value, cli.model.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert Data.load_from_checkpoint(path).hparams.samples == 4


def test_a_class_that_was_chosen_is_made_again() -> None:
    home = f"{__package__}.models"
    FitCLI(
        args=["fit", *QUIET, f"--model={home}.Net", f"--data={home}.Data", "--model.width=5"], save_config_callback=None
    )
    (path,) = Path("run").rglob("*.ckpt")
    loaded = pl.LightningModule.load_from_checkpoint(path)
    assert type(loaded) is Net and loaded.layer.out_features == 5
    assert type(pl.LightningDataModule.load_from_checkpoint(path)) is Data


def test_hyper_parameters_are_values_and_settings() -> None:
    """Loggers and the user's code see what `__init__` got; an object is shown as what it was made of."""
    cli, _ = fitted(*BLOCK, "--model.folder=there", f"--model.function={__package__}.models.doubled")
    hparams = cli.model.hparams
    assert set(hparams) == {"width", "lr", "act", "folder", "kind", "function"}
    assert hparams.folder == Path("there") and hparams.kind is Kind.PLAIN
    assert hparams.act["class_path"].endswith("models.Block") and hparams.act["init_args"]["scale"] == 3
    assert hparams.function == f"{__package__}.models.doubled" and cli.model.function is doubled


def test_a_function_by_its_path_is_found_again() -> None:
    _, path = fitted(f"--model.function={__package__}.models.doubled")
    assert Net.load_from_checkpoint(path).function is doubled


def test_without_support_objects_are_kept_as_they_are() -> None:
    with pytest.warns(UserWarning, match="ignore=\\['act'\\]"):
        cli, _ = fitted("--model.act=Tanh", load_from_checkpoint_support=False)
    assert isinstance(cli.model.hparams.act, nn.Tanh)


def evaluated(*words: str) -> Any:
    return TestCLI(Net, Data, args=["test", *QUIET, *words], save_config_callback=None)


def test_the_checkpoint_gives_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    _, path = fitted("--model.width=7", "--model.lr=0.2", *BLOCK, "--model.kind=FANCY", "--data.samples=6")
    cli = evaluated(f"--ckpt_path={path}")
    assert (cli.model.layer.out_features, cli.model.kind, cli.model.act.scale) == (7, Kind.FANCY, 3)
    assert cli.datamodule.hparams.samples == 4  # data are those of the call
    cli = evaluated(f"--ckpt_path={path}", "--model.lr=0.5")
    assert (cli.model.hparams.lr, cli.model.layer.out_features) == (0.5, 7)
    assert "`model.lr` is 0.5, as it was given; the checkpoint has 0.2." in caplog.text
    Path("run.yaml").write_text("model:\n  lr: 0.7\n")
    assert evaluated(f"--ckpt_path={path}", "--config=run.yaml").model.hparams.lr == 0.7
    with pytest.raises(MisconfiguredRun, match="size mismatch"):
        evaluated(f"--ckpt_path={path}", "--model.width=5")


def test_the_chosen_class_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = fitted("--model.width=7", "--model.act=Tanh")
    chosen = TestCLI(
        args=["test", *QUIET, f"--model={__package__}.models.Net", f"--data={__package__}.models.Data",
              "--model.lr=0.3", f"--ckpt_path={path}"],
        save_config_callback=None,
    )  # fmt: skip
    assert (chosen.model.layer.out_features, chosen.model.hparams.lr) == (7, 0.3)
    assert isinstance(chosen.model.act, nn.Tanh)


class Own(Net):
    """Keeps hyper-parameters of its own, which are no arguments."""

    def __init__(self, width: int = 4) -> None:
        pl.LightningModule.__init__(self)
        self.save_hyperparameters({"width": width, "lr": 0.1, "found": "late"})
        self.layer = nn.Linear(3, width)


def test_hyper_parameters_that_are_no_arguments_do_no_harm() -> None:
    FitCLI(Own, Data, args=["fit", *QUIET, "--model.width=6"], save_config_callback=None)
    (path,) = Path("run").rglob("*.ckpt")
    cli = TestCLI(Own, Data, args=["test", *QUIET, f"--ckpt_path={path}"], save_config_callback=None)
    assert cli.model.layer.out_features == 6


def test_what_is_not_read_safely_is_named() -> None:
    _, path = fitted("--model.width=7")
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["hyper_parameters"]["act"] = {"class_path": "nowhere_at_all.Evil"}
    torch.save(checkpoint, "evil.ckpt")
    with pytest.warns(UserWarning, match=r"without running code.*: act\..*--weights_only=false"):
        cli = evaluated("--ckpt_path=evil.ckpt")
    assert cli.model.act is None and cli.model.layer.out_features == 7
    assert "nowhere_at_all" not in sys.modules


def test_instantiate_module() -> None:
    made = instantiate_module(Net, {"width": 3, "act": {"class_path": "torch.nn.Tanh"}, "folder": "x"})
    assert isinstance(made.act, nn.Tanh) and made.folder == Path("x")
    path = f"{__package__}.models.Net"
    assert type(instantiate_module(pl.LightningModule, {"_class_path": path, "_instantiator": "x"})) is Net
