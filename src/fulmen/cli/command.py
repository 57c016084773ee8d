"""The command ``fulmen``: trains, validates, tests and predicts with any module that can be imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from fulmen.compat.alias_command import alias
from fulmen.compat.run import run
from fulmen.utilities.imports import available
from fulmen.utilities.suggest import did_you_mean


def _upgrade(words: Sequence[str]) -> None:
    from fulmen.utilities.upgrade_checkpoint import command

    command(words)


def _migrate(words: Sequence[str]) -> None:
    from fulmen.compat.migrate.command import command

    command(words)


TRAINER = {
    "fit": "train a model",
    "validate": "evaluate a model on its validation data",
    "test": "evaluate a model on its test data",
    "predict": "run a model on its prediction data",
}
# Subcommands that are not the Trainer's: what they are for, and what runs the words after them.
OTHERS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "run": ("run a program in which Lightning's import names mean Fulmen", run),
    "alias": ("let Lightning's import names mean Fulmen in a whole environment", alias),
    "upgrade-checkpoint": ("rewrite checkpoints of Lightning 1.x in the layout of today", _upgrade),
    "migrate": ("find and rewrite what is old in a code base", _migrate),
}

_USAGE = """usage: fulmen {names} [options]

{list}

  fulmen fit --model my.module.Net --data my.module.Data --trainer.max_epochs 3
  fulmen fit --config run.yaml
  fulmen fit --model my.module.Net --print_config > run.yaml

Classes are given by their paths; modules are looked for in this folder, too. `fulmen fit --help` lists the options, and
`fulmen fit --model.help my.module.Net` those of a class.

  -h, --help     show this help message and exit
  --version      show the version and exit
"""


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        words: The words after `fulmen`; None for those of the program.
    """
    words = list(sys.argv[1:] if words is None else words)
    first = words[0] if words else "--help"
    if first in ("-h", "--help"):
        sys.stdout.write(_help())
        raise SystemExit(0)
    if first == "--version":
        sys.stdout.write(f"fulmen {_version()}\n")
        raise SystemExit(0)
    if first in OTHERS:
        OTHERS[first][1](words[1:])
        return
    if not first.startswith("-") and first not in TRAINER:
        names = [*TRAINER, *OTHERS]
        _fail(f"There is no subcommand `{first}`.", did_you_mean(first, names) or f"There are: {', '.join(names)}.")
    _run(words)


def _run(words: Sequence[str]) -> None:
    """Runs the subcommands of the Trainer, with model and data by their class paths."""
    if not available("jsonargparse"):
        _fail(
            "The command line needs the package `jsonargparse`, which is not installed.",
            'pip install "fulmen[cli]"',
        )
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does
    from fulmen.cli.lightning_cli import LightningCLI

    before, sys.argv = sys.argv, ["fulmen", *words]
    try:
        LightningCLI(parser_kwargs={"prog": "fulmen", "description": "Trains, evaluates and runs models."})
    finally:
        sys.argv = before


def _fail(rule: str, fix: str) -> None:
    sys.stderr.write(f"fulmen: error: {rule}\nWhat to do: {fix}\n")
    raise SystemExit(2)


def _help() -> str:
    subcommands = {**TRAINER, **{name: purpose for name, (purpose, _) in OTHERS.items()}}
    lines = "\n".join(f"  {name:<19} {purpose}" for name, purpose in subcommands.items())
    return _USAGE.format(names="{" + ",".join(subcommands) + "}", list=lines)


def _version() -> str:
    try:
        return version("fulmen")
    except PackageNotFoundError:  # run from a checkout
        return "(not installed)"
