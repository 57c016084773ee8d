"""A mistake in a command line or a file is named with its place, and with what was probably meant; exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from fulmen.cli import LightningCLI
from fulmen.cli.hints import known, told
from fulmen.utilities.exceptions import MisconfigurationException

from .models import Data, Net
from .runs import QUIET, FitCLI, plain


def said(make: Any) -> str:
    """What a command line says as it ends with status 2."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        make()
    assert end.value.code == 2
    text = err.getvalue()
    assert "Traceback" not in text and "usage:" not in text
    return text


CALLBACK = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=x"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--model.widht=3"], ["no option `--model.widht`", "Did you mean `--model.width`?", "main.py --help"]),
        (["--model.widht", "3"], ["Received: --model.widht 3"]),
        (["--model.zzz=3"], ["`model` has", "width, lr"]),
        (["--max_epochs=3"], ["Did you mean `--trainer.max_epochs`?"]),
        (["stray"], ["`stray` is no option", "begin with two dashes"]),
        (["--model.width=x"], ["`model.width` must be an int.", "`--model.width=x` on the command line"]),
        (["--model.kind=ODD"], ["`model.kind` must be one of PLAIN, FANCY", "`--model.kind=ODD`"]),
        (["--trainer.max_epochs=x"], ["`trainer.max_epochs` must be an int or null"]),
        (["--trainer.precision=17"], ["one of 64, 32, 16", "bf16-mixed"]),
        (["--trainer.callbacks=EarlyStoping"],
         ["a Callback, and there is none called `EarlyStoping`", "`EarlyStopping`?"]),
        (["--trainer.callbacks=fulmen.callbacks.EarlyStoping"],
         ["`fulmen.callbacks` has no `EarlyStoping`", "Did you mean `fulmen.callbacks.EarlyStopping`?"]),
        (["--trainer.callbacks=nowhere.Nobody"],
         ["`nowhere.Nobody` cannot be imported", "folder that holds `nowhere`"]),
        (["--trainer.callbacks=torch.nn.Tanh"], ["`torch.nn.Tanh` is no such class", "Give a subclass"]),
        (["--trainer.callbacks=EarlyStopping"],
         ["`EarlyStopping` needs `monitor`", "`--trainer.callbacks.monitor=...`"]),
        ([*CALLBACK, "--trainer.callbacks.patiense=3"], ["`EarlyStopping` has no argument `patiense`", "`patience`?"]),
        ([*CALLBACK, "--trainer.callbacks.patience=x"], ["`patience` of `EarlyStopping` must be an int"]),
        (["--optimizer=Adm"], ["`optimizer` takes an Optimizer", "Did you mean `Adam`?"]),
        (["--optimizer=Adam", "--optimizer.lrr=3"], ["`Adam` has no argument `lrr`", "Did you mean `lr`?"]),
        (["--config=no.yaml"], ["configuration is not there", "no.yaml"]),
    ],
)  # fmt: skip
def test_words(words: list[str], parts: list[str]) -> None:
    text = said(lambda: plain(*words))
    assert all(part in text for part in parts), text


@pytest.mark.parametrize(
    ("content", "line", "parts"),
    [
        ("model:\n  width: 3\n  lrr: 2\n", 3, ["no key `model.lrr`", "`lrr: 2`", "Did you mean `model.lr`?"]),
        ("model:\n  width: wide\n", 2, ["`model.width` must be an int", "`width: wide`"]),
        ("model.width: wide\n", 1, ["`model.width` must be an int"]),
        ("modle:\n  lr: 2\n", 2, ["Did you mean `model.lr`?"]),
        ("model:\n  width: 3\n x: [\n", 3, ["The file is no YAML", "did not find expected key"]),
        ("trainer:\n  callbacks:\n  - class_path: EarlyStopping\n    init_args:\n      monitor: x\n      patiense: 3\n",
         6, ["`EarlyStopping` has no argument `patiense`", "Did you mean `patience`?"]),
        ("trainer:\n  callbacks:\n  - class_path: EarlyStopping\n    init_args:\n      monitor: x\n      patience: a\n",
         6, ["`patience` of `EarlyStopping` must be an int", "`patience: a`"]),
        ("trainer:\n  callbacks:\n    class_path: EarlyStoping\n",
         3, ["none called `EarlyStoping`", "`EarlyStopping`?"]),
        ("trainer:\n  callbacks:\n    class_path: pytorch_lightning.callbacks.EarlyStoping\n",
         3, ["Did you mean", "EarlyStopping"]),
        ("model:\n  act:\n    class_path: torch.nn.Tahn\n",
         3, ["`torch.nn` has no `Tahn`", "Did you mean `torch.nn.Tanh`?"]),
        ("- 3\n", None, ["A configuration is a mapping", "run.yaml"]),
    ],
)  # fmt: skip
def test_files(content: str, line: int | None, parts: list[str]) -> None:
    Path("run.yaml").write_text(content)
    text = said(lambda: plain("--config=run.yaml"))
    assert all(part in text for part in parts), text
    assert line is None or re.search(rf"run\.yaml, line {line}\b", text), text


def test_a_file_of_a_part() -> None:
    Path("model.yaml").write_text("width: 2\nlrr: 3\n")
    assert "`lrr: 3` in model.yaml, line 2" in said(lambda: plain("--model=model.yaml"))


def test_the_last_place_counts() -> None:
    Path("run.yaml").write_text("model:\n  width: wide\n")
    assert "on the command line" in said(lambda: plain("--config=run.yaml", "--model.width=x"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["A subcommand says what to do", "Give one of fit"]),
        (["fiit"], ["no subcommand `fiit`", "Did you mean `fit`?"]),
        (["fit", "--config=all.yaml"], ["no key `model.lrr`", "all.yaml, line 2", "main.py fit --help"]),
        (["--config=each.yaml", "fit"], ["no key `model.lrr`", "each.yaml, line 3"]),
        (["fit", "--trainer.callbacks=EarlyStopping"], ["needs `monitor`"]),
        (["fit", "--ckpt_path=no.ckpt"], ["There is no checkpoint `no.ckpt`", "Give the path of one"]),
    ],
)
def test_subcommands(words: list[str], parts: list[str]) -> None:
    Path("all.yaml").write_text("model:\n  lrr: 2\n")
    Path("each.yaml").write_text("fit:\n  model:\n    lrr: 2\n")
    text = said(lambda: FitCLI(Net, Data, args=words))
    assert all(part in text for part in parts), text


def test_a_model_must_be_chosen() -> None:
    text = said(lambda: FitCLI(args=["fit"]))
    assert "`model` has no default, and must be given" in text and "`--model=...`" in text


def test_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_MODEL__WIDTH", "wide")
    assert "PL_MODEL__WIDTH=wide, an environment variable" in said(lambda: plain(parser_kwargs={"default_env": True}))


def test_what_a_constructor_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag out of range is a mistake of who typed it; one of a call from Python is an exception."""
    words = [*QUIET, "--trainer.max_epochs=-4"]
    with pytest.raises(MisconfigurationException, match="Trainer\\(max_epochs=1\\)"):
        plain(*words)
    monkeypatch.setattr(sys, "argv", ["main.py", *words])
    assert "`max_epochs` is an int from -1 up" in said(lambda: LightningCLI(Net, Data, run=False))
    monkeypatch.setattr(sys, "argv", ["main.py", *QUIET, *CALLBACK, "--trainer.callbacks.mode=odd"])
    assert 'Pass mode="min" for a loss' in said(lambda: LightningCLI(Net, Data, run=False))


class Broken(Net):
    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.save_hyperparameters("wdth")


def test_a_mistake_in_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", *QUIET])
    with pytest.raises(MisconfigurationException, match="Did you mean `width`"):
        LightningCLI(Broken, Data, run=False)


def test_an_exception_in_place_of_an_exit() -> None:
    with pytest.raises(argparse.ArgumentError, match=r"Did you mean `--model\.width`"):
        plain("--model.widht=3", parser_kwargs={"exit_on_error": False})


def test_types_in_words() -> None:
    assert told(int | None) == "an int or null"
    assert told(list[Net] | Net | None) == "a list of Net, a Net or null"
    assert {"SGD", "Adam"} <= known(__import__("torch").optim.Optimizer).keys()
