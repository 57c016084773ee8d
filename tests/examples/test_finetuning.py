"""The example of finetuning does what it says."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "finetuning.py"

pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")


@pytest.fixture(scope="module")
def finetuning() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetuning", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_learns_other_digits(finetuning: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = finetuning.main(Path("runs"), max_epochs=6)
    assert before >= 0.97 and after >= 0.85
    said = capsys.readouterr().out
    assert f"digits 5 to 9     {after:.4f}, from 60 images" in said
    with Path("runs/finetuning/version_0/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    backbone = [float(row["lr-AdamW/pg2"]) for row in rows if row.get("lr-AdamW/pg2")]
    head = [float(row["lr-AdamW/pg1"]) for row in rows if row.get("lr-AdamW/pg1")]
    assert set(head) == {0.003}
    assert sorted(set(backbone)) == pytest.approx([0.0003, 0.00045, 0.000675])
