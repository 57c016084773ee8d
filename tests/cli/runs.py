"""Command lines for the tests: with one subcommand or none, as each takes its time to be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fulmen.cli import LightningCLI

from .models import Data, Net

QUIET = [
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.default_root_dir=run",
    "--trainer.logger=false",
]


class FitCLI(LightningCLI):
    """A command line with `fit` alone."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": LightningCLI.subcommands()["fit"]}


class TestCLI(LightningCLI):
    """A command line with `test` alone."""

    __test__ = False

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"test": LightningCLI.subcommands()["test"]}


def plain(*words: str, **options: Any) -> LightningCLI:
    """A command line without subcommands."""
    return LightningCLI(Net, Data, run=False, args=list(words), **options)


def fitted(*words: str, **options: Any) -> tuple[LightningCLI, Path]:
    """A command line that has trained, and the checkpoint that it left."""
    cli = FitCLI(Net, Data, args=["fit", *QUIET, *words], save_config_callback=None, **options)
    (path,) = Path("run").rglob("*.ckpt")
    return cli, path
