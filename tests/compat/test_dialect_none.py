"""Without the dialect nothing is missing: the modern tests pass with ``FULMEN_DIALECT=none``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fulmen

TESTS = Path(__file__).parents[1]
QUICK = ("core/test_optimizer_config.py", "trainer/test_parts.py")
LONG = ("core", "loops", "trainer", "callbacks", "data", "checkpoint", "resume")


def _run(command: list[str], dialect: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "FULMEN_DIALECT": dialect, "PYTHONPATH": str(Path(fulmen.__file__).parents[1]),
        "OMP_NUM_THREADS": "1", "FULMEN_SOAK": "",
    }  # fmt: skip
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=TESTS.parent, check=False)


def _pytest(*paths: str) -> None:
    chosen = [str(TESTS / path) for path in paths]
    assert all(map(os.path.exists, chosen))
    done = _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *chosen], "none")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.soak
@pytest.mark.parametrize("folder", LONG)
def test_the_modern_tests_pass(folder: str) -> None:
    _pytest(folder)


def test_a_handful_of_them_pass() -> None:
    _pytest(*QUICK)


SCRIPT = """
import sys
import fulmen.as_lightning
import pytorch_lightning as pl
print(hasattr(pl.Trainer, "tune"), hasattr(pl.LightningDataModule, "add_argparse_args"))
print(sorted(name for name in sys.modules if name.startswith("fulmen.compat.v1")))
"""


def test_nothing_of_it_is_imported() -> None:
    done = _run([sys.executable, "-W", "ignore", "-c", SCRIPT], "none")
    assert done.stdout.splitlines() == ["False False", "[]"], done.stderr
