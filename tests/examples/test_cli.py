"""The example of a command line trains, tests and is had again from the configuration that it wrote."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("sklearn", reason="the example's data come with scikit-learn")
pytest.importorskip("jsonargparse", reason="the command line is built on it")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("cli_example", EXAMPLES / "cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cli_example", module)
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    spec.loader.exec_module(module)
    yield module


def test_the_example(script: ModuleType) -> None:
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    cli = script.main(["fit", "--config", str(EXAMPLES / "cli.yaml"), *quiet, "--trainer.max_epochs=5"])
    assert cli.trainer.callback_metrics["val_accuracy"] > 0.9
    folder = Path("runs/cli/version_0")
    last = folder / "checkpoints" / "last.ckpt"

    again = script.main(["fit", "--config", str(folder / "config.yaml")])
    assert all(torch.equal(value, cli.model.state_dict()[key]) for key, value in again.model.state_dict().items())

    tested = script.main(["test", "--config", str(EXAMPLES / "cli.yaml"), *quiet, f"--ckpt_path={last}"])
    assert tested.trainer.callback_metrics["test_accuracy"] > 0.9
    loaded = script.Classifier.load_from_checkpoint(last)
    assert isinstance(loaded.network[1], torch.nn.Tanh)
