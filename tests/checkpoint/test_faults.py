"""A kill or an error at each system call of a save in turn: a real program, and a real C library in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import SOAK, few

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or COMPILER is None,
    reason="needs Linux and a C compiler to stand between program and system",
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"], check=True)
    return library


def run(shim: Path, *arguments: object) -> dict[str, int]:
    root = HERE.parents[1]
    env = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [env.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tests.checkpoint.faulty", *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {str(name): int(count) for name, count in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", few(["a.ckpt", "deep/down/new.ckpt"], 1))
def test_a_save_that_fails_or_is_killed_at_any_call(shim: Path, tmp_path: Path, name: str) -> None:
    """Over an old file, and to folders that are not there yet; what must hold is in ``faulty.py``."""
    counts = run(shim, "save", tmp_path / "saves", name)
    assert len(counts) == 7 and len(set(counts.values())) == 1, counts
    assert counts["KILL"] > 20


def test_training_that_fails_or_is_killed_at_any_call(shim: Path, tmp_path: Path) -> None:
    """A run that goes on from another one, and is itself gone on from."""
    counts = run(shim, "fit", tmp_path / "run", 300 if SOAK else 10)
    assert counts["calls"] > 100 and counts["stopped"] > 5, counts
