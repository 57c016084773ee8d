"""Offline, in a process of its own, since ``comet_ml`` changes other packages when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fulmen.utilities.imports import available

from .comet_archive import content

pytestmark = pytest.mark.skipif(not available("comet_ml"), reason="it writes what these tests read")


def run(folder: Path, code: str, **variables: str) -> str:
    """Runs a script in a folder, without a way to an account, and returns what it printed."""
    root = Path(__file__).parents[2]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COMET_")},
        "HOME": str(folder),
        "COMET_DISABLE_AUTO_LOGGING": "1",
        "COMET_LOGGING_CONSOLE": "error",
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)]),
        **variables,
    }
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_an_experiment_holds_all_that_was_logged(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        """
        import comet_ml, copy, pickle, torch
        from fulmen.loggers import CometLogger
        from fulmen.utilities.exceptions import MisconfigurationException
        from tests.loggers.runs import At, Net, fit, weights

        def refused(**options):
            try:
                CometLogger(**options)
            except MisconfigurationException as error:
                print(type(error).__name__, str(error).replace("\\n", " "))

        refused()
        refused(online=False, mode="new")
        refused(online=False, colour="red")

        def log_all(trainer):
            trainer.log_image("image", torch.zeros(3, 4, 5), caption="black")
            trainer.log_table("table", columns=["x", "y"], data=[[1, "a"]])
            trainer.log_text("text", "Once upon a time")
            trainer.log_audio("sound", torch.zeros(100), sample_rate=8000)
            trainer.log_histogram("values", torch.arange(10.0))

        torch.manual_seed(0)
        logger = CometLogger(
            online=False, project="digits", prefix="fold", name="named", tags=["t"], offline_directory="runs"
        )
        net = fit(logger, [At(1, log_all)], Net(notes="n"))
        torch.manual_seed(0)
        assert weights(net) == weights(fit(False, module=Net(notes="n")))
        key = logger.version
        logger.log_metrics({"late": torch.tensor(2.0)}, 9)
        assert logger.experiment.get_key() == key
        for clone in (copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))):
            assert (clone.version, clone.name, clone.save_dir) == (key, "digits", "runs")
        logger.experiment.end()
        print("key", key)
        """,
    )
    lines = printed.splitlines()
    assert "`COMET_API_KEY`" in lines[0]
    assert 'Pass `mode="get"`' in lines[1]
    assert "help(comet_ml.ExperimentConfig)" in lines[2]
    found = content(tmp_path / "runs")
    assert found["key"] == lines[-1].split()[1]
    losses = [(step, epoch) for name, _, step, epoch in found["metrics"] if name == "fold_loss"]
    assert losses == [(step, step // 3) for step in range(6)]
    assert ("fold_late", 2.0, 9) in [row[:3] for row in found["metrics"]]
    assert found["params"] == {"lr": 0.1, "notes": "n"}
    assert found["graph"].startswith("Net(")
    assert found["others"]["Created from"] == "fulmen"
    assert found["others"]["Name"] == "named"
    kinds = {kind for kind, _ in found["uploads"]}
    assert {"visualization", "asset", "text-sample", "audio", "histogram3d"} <= kinds
    assert ("source_code", str(tmp_path / "script.py")) in found["uploads"]
