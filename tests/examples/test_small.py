"""Examples run on small settings, and learn something even so."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sklearn", reason="the examples' data come with scikit-learn")

Example = Callable[[str], ModuleType]


def column(file: Path, name: str) -> list[float]:
    with file.open(newline="") as rows:
        return [float(row[name]) for row in csv.DictReader(rows) if row.get(name)]


def test_tabular(example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger("fulmen").level
    try:
        area, baseline = example("tabular").main(tmp_path, folds=2, max_epochs=12)
    finally:
        logging.getLogger("fulmen").setLevel(before)
    assert area > 0.98 and baseline > 0.98
    printed = capsys.readouterr().out
    assert f"area under the ROC curve   {area:.4f}" in printed
    assert len(re.findall(r"^  [a-z ]+[\d.]+$", printed, re.MULTILINE)) == 5
    assert len(list(tmp_path.rglob("*.ckpt"))) == 2  # a network for each fold


def test_gan(example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the example draws")
    before, after = example("gan").main(tmp_path, max_epochs=4)
    assert after < 0.75 * before
    folder = tmp_path / "gan/version_0"
    assert (folder / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert column(folder / "metrics.csv", "generator_loss")
    assert f"{before:.1f} before, {after:.1f} after" in capsys.readouterr().out


def test_text_classifier(example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers", reason="the example's network is in it")
    accuracy = example("text_classifier").main(tmp_path, max_epochs=2, fraction=0.5)
    guessed = re.search(r"most frequent topic: ([\d.]+)", capsys.readouterr().out)
    assert guessed is not None and accuracy > float(guessed[1])
    losses = column(tmp_path / "text_classifier/version_0/metrics.csv", "train_loss")
    assert losses[-1] < losses[0]
