"""Rows of ``docs/differences.md`` on the command line."""

from __future__ import annotations

import contextlib
import io
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .scenarios import quiet
from .test_cli import RUN, under_both

pytestmark = pytest.mark.filterwarnings("ignore")


def _trained(user: Any, *words: str) -> Path:
    user.LightningCLI(user.Ready, user.Data, args=["fit", *RUN, *words])
    (path,) = Path("logs").rglob("*.ckpt")
    return path


def test_what_is_given_goes_before_the_checkpoint(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 72. A rate that the command line names is not the one that is used."""

    def use(user: Any) -> Any:
        path = _trained(user, "--model.lr=0.2", "--model.width=7")
        words = ["fit", *RUN, "--trainer.max_epochs=3", f"--ckpt_path={path}", "--model.lr=0.01"]
        going = user.LightningCLI(user.Ready, user.Data, args=words)
        return going.model.hparams.lr, going.model.layer.out_features, going.config.fit.model.lr

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert theirs == (0.2, 7, 0.2)
    assert ours == (0.01, 7, 0.01)


def test_hyper_parameters_of_its_own(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 73. A checkpoint that the same script wrote is refused."""

    def use(user: Any) -> Any:
        class Own(user.Ready):  # type: ignore[misc, name-defined]
            def __init__(self, width: int = 4) -> None:
                user.pl.LightningModule.__init__(self)
                self.save_hyperparameters({"width": width, "lr": 0.1, "classes": 3})
                self.layer, self.act = torch.nn.Linear(3, width), None

        user.LightningCLI(Own, user.Data, args=["fit", *RUN, "--model.width=6"])
        (path,) = Path("logs").rglob("*.ckpt")
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                tested = user.LightningCLI(Own, user.Data, args=["test", *RUN, f"--ckpt_path={path}"])
        except SystemExit as end:
            return end.code
        return tested.model.layer.out_features

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert theirs == 2
    assert ours == 6


class Kind(Enum):
    PLAIN = 1
    FANCY = 2


def test_hyper_parameters_are_what_init_got(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 74. A module that uses its hyper-parameters works when it is called, and not from the command line."""

    def use(user: Any) -> Any:
        class Typed(user.Ready):  # type: ignore[misc, name-defined]
            def __init__(self, folder: Path = Path("x"), kind: Kind = Kind.PLAIN) -> None:
                super().__init__()
                self.save_hyperparameters()

        plain = Typed(Path("there"), Kind.FANCY).hparams
        words = ["--model.folder=there", "--model.kind=FANCY", *RUN]
        given = user.LightningCLI(Typed, user.Data, run=False, args=words).model.hparams
        return dict(plain), dict(given)

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert theirs[0]["kind"] is Kind.FANCY and theirs[1]["kind"] == "FANCY" and "_instantiator" in theirs[1]
    assert ours[1] == ours[0] == theirs[0]


def test_a_wrong_key_is_shown_where_it_stands(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 75. Sixty lines of usage, and no word on which of two files it is."""

    def use(user: Any) -> str:
        Path("one.yaml").write_text("model:\n  lr: 0.1\n")
        Path("two.yaml").write_text("model:\n  width: 3\n  learning_rat: 0.2\n")
        err = io.StringIO()
        with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            user.LightningCLI(user.Net, user.Data, args=["fit", "--config=one.yaml", "--config=two.yaml"])
        assert end.value.code == 2
        return err.getvalue()

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert "two.yaml" not in theirs and len(theirs.splitlines()) > 30
    assert "two.yaml, line 3" in ours and len(ours.splitlines()) == 3


def test_a_run_that_is_started_again(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 76. A job that is put into the queue again ends with an error about its own file."""

    def use(user: Any) -> Any:
        words = ["fit", *RUN, "--trainer.logger.version=0", "--seed_everything=1"]
        epochs = []
        for _ in range(2):
            try:
                with quiet():
                    epochs.append(user.LightningCLI(user.Ready, user.Data, args=words).trainer.current_epoch)
            except RuntimeError:
                epochs.append("RuntimeError")
        return epochs

    theirs, ours = under_both(lightning, fulmen, monkeypatch, use)
    assert theirs == [2, "RuntimeError"]
    assert ours == [2, 2]
