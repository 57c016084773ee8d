"""Scenarios in a process of their own: ``python -m tests.api.elsewhere FOLDER NAME...`` prints what was called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import CodeType

from . import calls
from .scenarios import services

ROOT = Path(__file__).parents[2]
# Imported before anything is recorded, which would take long.
PACKAGES = {"comet": "comet_ml", "mlflow": "mlflow", "wandb": "wandb"}
Place = tuple[str, str, int]


def called(names: Iterable[str], folder: Path) -> set[Place]:
    """The functions of Fulmen that scenarios call.

    Args:
        names: Some of ``scenarios/services.py``.
        folder: Their folder.
    """
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.api.elsewhere", str(folder), *names],
        env={**os.environ, "PYTHONPATH": paths, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {(file, function, line) for file, function, line in json.loads(done.stdout.splitlines()[-1])}


def places(codes: Iterable[CodeType]) -> set[Place]:
    """How functions are called between processes."""
    return {(code.co_filename, code.co_qualname, code.co_firstlineno) for code in codes}


def _main(folder: Path, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    ran: set[CodeType] = set()
    for name in names:
        import_module(PACKAGES[name])
        with calls.recording(ran):
            getattr(services, name)(folder)
    print(json.dumps([place for place in places(ran) if place[0].startswith(calls.PACKAGE)]))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
