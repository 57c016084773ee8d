"""Runs scripts of the folder ``scripts`` one after the other, each as a program in a folder of its own.

As a program: ``python scripts_runner.py OUT NAME...`` writes what they print to the file OUT.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import logging
import os
import random
import runpy
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

FOLDER = Path(__file__).parent / "scripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "figures")


class OtherName(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets ``lightning.pytorch`` be the ``pytorch_lightning`` that is installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname == "lightning" or fullname.startswith("lightning.pytorch"):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        if spec.name == "lightning":
            top, below = ModuleType("lightning"), importlib.import_module("pytorch_lightning")
            top.__dict__.update({name: getattr(below, name) for name in (*below.__all__, "__version__")})
            return top
        module = importlib.import_module(spec.name.replace("lightning.pytorch", "pytorch_lightning", 1))
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ != "lightning":
            module.__spec__ = self.own


@contextlib.contextmanager
def other_name() -> Iterator[None]:
    """Both names of Lightning, in this process."""
    finder = OtherName()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] == "lightning"]:
            del sys.modules[name]


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What a script changes of the process is put back."""
    argv, path, here, environ = sys.argv, list(sys.path), os.getcwd(), dict(os.environ)
    python, generator, levels = random.getstate(), torch.get_rng_state(), copy.copy(logging.root.level)
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            sys.path.insert(0, str(FOLDER))
            torch.manual_seed(0)
            random.seed(0)
            yield
        finally:
            os.chdir(here)
            sys.argv, sys.path[:] = argv, path
            os.environ.clear()
            os.environ.update(environ)
            random.setstate(python)
            torch.set_rng_state(generator)
            torch.use_deterministic_algorithms(False)
            torch.set_grad_enabled(True)
            logging.root.setLevel(levels)


def run(name: str) -> dict[str, Any]:
    """What a script prints; under the key ``"error"``, how it failed."""
    out = io.StringIO()
    with apart(), warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("ignore")
        sys.argv = [f"{name}.py"]
        try:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        except BaseException:
            return {"error": traceback.format_exc()}
    found: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return found


def run_all(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What scripts print, by their names."""
    return {name: run(name) for name in names}


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    Path(sys.argv[1]).write_text(json.dumps(run_all(sys.argv[2:])))
