"""Programs as people publish them: under PyTorch Lightning and, unmodified, under its names that mean Fulmen.

The figures are the same to the last bit, but for values that are logged over an epoch: those are added up in another
precision, row 6 of ``docs/differences.md``.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import scripts_runner
from .scenarios import quiet

HERE = Path(__file__).parent
TEXTS = {name: (HERE / "scripts" / f"{name}.py").read_text(encoding="utf-8") for name in scripts_runner.NAMES}
# To import one of these takes longer than all of the scripts.
OTHERS = re.compile("torchmetrics|sklearn|LightningCLI")
SAMPLE = random.Random(2).sample([name for name, text in TEXTS.items() if not OTHERS.search(text)], 4)


def under_fulmen(*words: str, **variables: str) -> str:
    """What `fulmen run` prints for a program."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "fulmen", "run", *words]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def compare(names: Sequence[str]) -> None:
    under_fulmen(str(HERE / "scripts_runner.py"), "ours.json", *names)
    ours = json.loads(Path("ours.json").read_text())
    with quiet(), scripts_runner.other_name():
        theirs = scripts_runner.run_all(names)
    for name in names:
        assert "error" not in theirs[name] | ours[name], theirs[name].get("error", ours[name].get("error"))
        means: Any = pytest.approx(theirs[name].pop("means", {}), rel=1e-6, abs=1e-9)
        assert ours[name].pop("means", {}) == means, name
        assert ours[name] == theirs[name], name
        assert len(ours[name]) > 1, f"{name} prints no figures"


def test_there_are_enough_of_both_names() -> None:
    first = sum("pytorch_lightning" in text for text in TEXTS.values())
    second = sum("lightning.pytorch" in text for text in TEXTS.values())
    assert len(TEXTS) >= 20 and first >= 8 and second >= 8 and first + second == len(TEXTS)


def test_some(lightning: ModuleType) -> None:
    compare(SAMPLE)


@pytest.mark.soak
def test_all(lightning: ModuleType) -> None:
    for package in ("sklearn", "jsonargparse", "torchmetrics"):
        pytest.importorskip(package, reason="some of the scripts are built on it")
    compare(scripts_runner.NAMES)


@pytest.mark.soak
def test_a_trackers_autologging(lightning: ModuleType) -> None:
    """MLflow replaces `Trainer.fit`, adds a callback, and keeps what it finds in a store."""
    pytest.importorskip("mlflow", reason="the tracker")
    script = str(HERE / "autolog_script.py")
    found = {}
    for side, command in {
        "theirs": [script, "--both-names"],
        "ours": ["-m", "fulmen", "run", "-W", "ignore", script],
    }.items():
        Path(side).mkdir()
        ran = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=600, cwd=side, check=False,
            env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        found[side] = json.loads(ran.stdout.splitlines()[-1])
    assert found["ours"] == found["theirs"]
    assert found["ours"]["first"]["params"]["optimizer_name"] == "Adam"
    assert len(found["ours"]["other"]["curve"]) == 3
