"""Class paths of Lightning mean Fulmen's classes, in files, words, variables and dictionaries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fulmen.callbacks
from fulmen.cli import LightningCLI
from fulmen.cli.names import ours, renamed, renamed_word, spellings

from .models import Data, Net
from .runs import QUIET, plain


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pytorch_lightning.callbacks.EarlyStopping", "fulmen.callbacks.EarlyStopping"),
        ("lightning.pytorch.callbacks.early_stopping.EarlyStopping", "fulmen.callbacks.early_stopping.EarlyStopping"),
        ("lightning.pytorch.LightningModule", "fulmen.LightningModule"),
        ("pytorch_lightning.callbacks.NotThere", "fulmen.callbacks.NotThere"),
        ("pytorch_lightning.yaml", None),
        ("pytorch_lightning.nowhere.Thing", None),
        ("my_pytorch_lightning.callbacks.EarlyStopping", None),
        ("torch.nn.Tanh", None),
    ],
)
def test_ours(name: str, meant: str | None) -> None:
    assert ours(name) == meant
    assert meant is None or name in (*spellings(meant), "lightning.pytorch.callbacks.early_stopping.EarlyStopping")


def test_words_and_values() -> None:
    assert renamed_word("--x=pytorch_lightning.Trainer") == "--x=fulmen.Trainer"
    assert renamed_word('--x=[{"class_path": "lightning.pytorch.Trainer"}]') == '--x=[{"class_path": "fulmen.Trainer"}]'
    assert (
        renamed_word("--x=runs/pytorch_lightning.callbacks/last.ckpt")
        == "--x=runs/pytorch_lightning.callbacks/last.ckpt"
    )
    kept = {"a": [1, None, "text"]}
    assert renamed(kept) == kept


EARLY = {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "loss"}}
FILE = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: loss}
"""


@pytest.mark.parametrize("way", ["file", "file of a part", "word", "text", "variable", "dictionary"])
def test_every_way_in(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.yaml").write_text(FILE)
    Path("callback.yaml").write_text(
        "class_path: pytorch_lightning.callbacks.EarlyStopping\ninit_args: {monitor: loss}\n"
    )
    name = "pytorch_lightning.callbacks.EarlyStopping"
    if way == "variable":
        monkeypatch.setenv("PL_TRAINER__CALLBACKS", str(EARLY).replace("'", '"'))
    if way == "dictionary":
        args: Any = {"trainer": {"callbacks": [EARLY], "logger": False}}
    else:
        args = {
            "file": ["--config=run.yaml"],
            "file of a part": ["--trainer.callbacks=callback.yaml"],
            "word": ["--trainer.callbacks", name, "--trainer.callbacks.monitor=loss"],
            "text": [f"--trainer.callbacks={[EARLY]}".replace("'", '"')],
            "variable": [],
        }[way] + QUIET
    cli = LightningCLI(Net, Data, run=False, args=args, parser_kwargs={"default_env": way == "variable"})
    assert type(cli.trainer.callbacks[0]) is fulmen.callbacks.EarlyStopping
    assert "pytorch_lightning" not in str(cli.config_dump)


def test_lightning_is_not_imported() -> None:
    was = "pytorch_lightning" in sys.modules
    plain("--trainer.callbacks=pytorch_lightning.callbacks.ModelSummary", *QUIET)
    assert ("pytorch_lightning" in sys.modules) == was
