"""Every path and every public name of Lightning leads to the same object under each of its names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fulmen.compat.names import PRESENT
from fulmen.compat.old_names import OLD, REMEDIES
from fulmen.compat.paths import MOVED, exists, home, split
from fulmen.compat.view import base_of, children, find
from fulmen.utilities.exceptions import MisconfigurationException

WANTED = """\
import pytorch_lightning.callbacks.early_stoping -> No module named 'pytorch_lightning.callbacks.early_stoping': \
Fulmen has nothing at this path. | What to do: Did you mean `pytorch_lightning.callbacks.early_stopping`?
from lightning.pytorch.callbacks import EarlyStoping -> cannot import name 'EarlyStoping': \
Fulmen has no 'EarlyStoping' at `pytorch_lightning.callbacks`. | What to do: Did you mean `EarlyStopping`?
from pytorch_lightning import Trainr -> cannot import name 'Trainr': \
Fulmen has no 'Trainr' at `pytorch_lightning`. | What to do: Did you mean `Trainer`?
"""


def test_every_path_and_name() -> None:
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("every_path.py")], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    wrong, _, absent = ran.stdout.partition("----\n")
    assert wrong == ""
    assert absent.startswith(WANTED)
    rest = dict(line.split(" -> ") for line in absent[len(WANTED) :].splitlines())
    assert list(rest) == [
        "import lightning.app",
        "import lightning.fabric.callbacks",
        "from pytorch_lightning import checkpoints",
    ]
    assert rest["import lightning.app"].endswith("Import from `lightning.pytorch` or `lightning.fabric`.")
    assert "Fulmen has nothing at this path" in rest["import lightning.fabric.callbacks"]


@pytest.mark.parametrize("table", [PRESENT, OLD], ids=["2.x", "1.x"])
def test_rows_name_modules_that_are_there(table: dict[str, dict[str, str]]) -> None:
    """Or that the 1.x dialect will have: what to do without it is said for each."""
    rows = [(path, source if source != "*" else names) for path, row in table.items() for source, names in row.items()]
    assert len(rows) > 80
    lost = [(path, place) for path, place in rows if not exists(f"fulmen.{place}") and place not in REMEDIES]
    assert lost == []


def test_no_name_stands_twice_in_a_row() -> None:
    for path in {*PRESENT, *OLD}:
        words = [
            word.partition("=")[0]
            for table in (PRESENT, OLD)
            for source, names in table.get(path, {}).items()
            for word in (names.split() if source != "*" else [])
        ]
        assert len(words) == len(set(words)), path


def test_parts_that_lightning_has_not() -> None:
    assert split("pytorch_lightning.compat.alias") is None
    assert split("lightning.fabric.callbacks") is None
    assert split("pytorch_lightning.wrappers") is None
    assert split("pytorch_lightningx.callbacks") is None
    assert split("lightning.fabric.utilities.data") == ("lightning.fabric", "utilities.data")
    assert home("core.lightning") == "fulmen.core.module"
    assert home("plugins.environments.slurm") == "fulmen.environments.slurm"
    assert all(exists(f"fulmen.{place}") or place in REMEDIES for place in MOVED.values())


def test_no_module_hides_a_name_of_the_package_it_is_in() -> None:
    """A view looks for modules first."""
    for path in {parent.rpartition(".")[0] for parent in {*PRESENT, *OLD}} - {""}:
        for name in children(path) & set(getattr(base_of(path), "__all__", ())):
            assert isinstance(getattr(base_of(path), name), ModuleType), f"{path}.{name}"


def test_names_that_repositories_import() -> None:
    from fulmen.callbacks import LearningRateMonitor

    assert find("callbacks", "LearningRateLogger") is find("callbacks.lr_logger", "LearningRateLogger")
    assert find("callbacks", "LearningRateLogger") is LearningRateMonitor
    assert find("utilities.distributed", "_gather_all_tensors") is find("utilities.distributed", "gather_all_tensors")
    assert find("overrides.distributed", "_IndexBatchSamplerWrapper").__module__ == "fulmen.compat.absent"
    assert find("loops", "_Loop") is find("loops.loop", "_Loop")
    for name in ("all_gather_ddp_if_available", "_sync_ddp_if_available"):
        with pytest.raises(MisconfigurationException, match="all_gather"):
            find("utilities.distributed", name)(torch.ones(1))
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert find("metrics.functional", "to_categorical")(scores).tolist() == [1, 0]
