"""Examples with a loss for each of several optimizers learn what they claim to."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Example = Callable[[str], ModuleType]


def test_a_mean_teacher_beats_the_labels_alone(
    example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")
    supervised, taught = example("mean_teacher").main(tmp_path, max_epochs=10)
    assert taught > supervised > 0.8
    assert f"{supervised:.4f} from these alone, {taught:.4f} with a mean teacher" in capsys.readouterr().out


def test_the_return_of_an_actor_and_its_critic_rises(
    example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = example("actor_critic").main(tmp_path, max_epochs=4)
    assert after > 5 * before
    with (tmp_path / "actor_critic/version_0/metrics.csv").open(newline="") as rows:
        logged = [float(row["return"]) for row in csv.DictReader(rows) if row["return"]]
    assert len(logged) == 4 and before < logged[0] < logged[-1] == after
    assert f"{before:.1f} before, {after:.1f} after" in capsys.readouterr().out
