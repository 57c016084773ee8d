"""The script of 2021 trains as it is, and hears once of each old feature how it is written today."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fulmen.compat.run import environment

pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")
pytest.importorskip("torchmetrics", reason="the example's metrics are made of them")
for part in ("optimizers", "argparse"):
    pytest.importorskip(f"fulmen.compat.v1.{part}", reason="the dialect is not complete without it")

SCRIPT = Path(__file__).parents[2] / "examples/legacy_15.py"
FEATURES = (
    "Trainer.add_argparse_args", "Trainer.from_argparse_args", "gpus", "progress_bar_refresh_rate",
    "resume_from_checkpoint", "training_epoch_end", "validation_epoch_end", "optimizer_idx", "pl.metrics",
)  # fmt: skip


@pytest.mark.soak
def test_it_trains_with_one_hint_a_feature(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", str(SCRIPT), "--max_epochs", "3", "--gpus", "0",
         "--default_root_dir", str(tmp_path)],
        env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = re.findall(r"validation accuracy after (.*): ([\d.]+)", done.stdout)
    assert [when for when, _ in found] == ["3 epochs", "one more"]
    assert float(found[0][1]) > 0.85 and float(found[1][1]) > 0.85
    hints = [line for line in done.stderr.splitlines() if "is of Lightning 1.x" in line]
    for feature in FEATURES:
        said = [line for line in hints if feature in line.partition("is of Lightning 1.x")[0]]
        assert len(said) == 1, (feature, hints)
    assert len(hints) == len(set(hints))
