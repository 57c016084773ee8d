"""Scenarios in a process of their own: ``python -m tests.api.elsewhere FOLDER NAME...`` prints what was called."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import CodeType

from tests import warm

from . import calls
from .scenarios import services

# Imported before anything is recorded, which would take long.
PACKAGES = {"comet": "comet_ml", "mlflow": "mlflow", "wandb": "wandb"}
Place = tuple[str, str, int]


def called(names: Iterable[str], folder: Path) -> set[Place]:
    """The functions of Fulmen that scenarios call.

    Args:
        names: Some of ``scenarios/services.py``.
        folder: Their folder.
    """
    code = "import runpy; runpy.run_module('tests.api.elsewhere', run_name='__main__')"
    environment = {**os.environ, "HOME": str(folder)}
    done = warm.run(code, str(folder), *names, cwd=folder, env=environment, timeout=300)
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
