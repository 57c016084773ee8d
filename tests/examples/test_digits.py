"""The example that the README walks through does what it says."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")
pytest.importorskip("matplotlib", reason="the example draws its curves")


def test_digits_reads_digits_and_keeps_everything(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = example("digits").main(Path("runs"), max_epochs=10)
    assert accuracy >= 0.985

    said = dict(re.findall(r"^(\w+(?: \w+)*) {2,}(.+)$", capsys.readouterr().out, re.MULTILINE))
    assert said["test accuracy"] == f"{accuracy:.4f}"

    folder = Path("runs/csv/version_0")
    assert (said["logged values"], said["curves"]) == (f"{folder}/metrics.csv", f"{folder}/curves.png")
    assert said["in TensorBoard"] == "tensorboard --logdir runs"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "checkpoints").glob("epoch=*-val_accuracy=*.ckpt")) == [Path(said["best checkpoint"])]
    assert list((Path("runs/tensorboard/version_0")).glob("events.out.tfevents.*"))
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train_loss_step", "train_loss_epoch", "train_accuracy", "val_loss", "val_accuracy", "lr-AdamW"):
        assert any(row[name] for row in rows), name
    assert [float(row["test_accuracy"]) for row in rows if row["test_accuracy"]] == pytest.approx([accuracy])
