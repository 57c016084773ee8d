"""Rows of ``docs/differences.md`` on loggers of services."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from .differing import both, model, trainer
from .scenarios import quiet


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("mlflow", reason="it keeps what is compared")
    return f"sqlite:///{tmp_path_factory.getbasetemp()}/parity.db"  # to make one takes seconds


def _client(store: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(store)


def test_functions_among_hyper_parameters_are_not_called(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 67. A function that draws a random number, a tensor and a NumPy number."""
    wandb: Any = pytest.importorskip("wandb")
    numpy: Any = pytest.importorskip("numpy")
    monkeypatch.setenv("WANDB_SILENT", "true")

    class Run:
        id = "mine"

        def __init__(self) -> None:
            self.config = wandb.Config()

        def define_metric(self, *args: Any, **kwargs: Any) -> None: ...

    def logged(pl: Any) -> tuple[dict[str, Any], bool]:
        run = Run()
        logger = pl.loggers.WandbLogger(experiment=run, save_dir=tmp_path)
        before = torch.get_rng_state()
        params = {"init": lambda: torch.rand(1).item(), "rate": torch.tensor(0.5), "width": numpy.int64(3)}
        logger.log_hyperparams(params)
        return json.loads(json.dumps(dict(run.config), default=str)), torch.equal(before, torch.get_rng_state())

    (theirs, theirs_kept), (ours, ours_kept) = both(lightning, fulmen, logged)
    assert not theirs_kept and isinstance(theirs["init"], float)
    assert ours_kept and ours["init"] == "<lambda>"
    assert theirs["rate"] == "tensor(0.5000)"
    assert (ours["rate"], ours["width"]) == (0.5, 3)


def test_hyper_parameters_are_whole_on_mlflow(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, store: str
) -> None:
    """Row 68. A text of 1,000 characters, an empty list, and a rate that is another in the second call."""

    def kept(pl: Any) -> tuple[dict[str, str], bool, list[Any]]:
        name = f"{tmp_path.name}-{pl.__name__}"
        folder = tmp_path / pl.__name__
        logger = pl.loggers.MLFlowLogger(name, tracking_uri=store, artifact_location=str(folder))
        logger.log_hyperparams({"text": "t" * 1000, "empty": [], "rate": 0.1})
        try:
            logger.log_hyperparams({"rate": 0.2})
            went_on = True
        except Exception:
            went_on = False
        files = [json.loads(path.read_text()) for path in folder.rglob("hparams/*.json")]
        return _client(store).get_run(logger.run_id).data.params, went_on, files

    theirs, ours = both(lightning, fulmen, kept)
    assert theirs == ({"text": "t" * 250, "rate": "0.1"}, False, [])
    assert ours == ({"text": "t" * 1000, "empty": "[]", "rate": "0.1"}, True, [{"rate": "0.2"}])


def test_runs_on_mlflow_say_how_they_are(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, store: str) -> None:
    """Row 69. A run that Ctrl-C ends, and that is gone on with."""

    def states(pl: Any) -> list[str]:
        name = f"{tmp_path.name}-{pl.__name__}"
        options = {"tracking_uri": store, "artifact_location": str(tmp_path / pl.__name__)}
        logger = pl.loggers.MLFlowLogger(name, **options)

        def stop(self: Any, batch: Any, batch_idx: int) -> Any:
            raise KeyboardInterrupt

        net = model(pl, training_step=stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            trainer(pl, logger=logger).fit(net, DataLoader(torch.ones(4, 2)))
        found = [_client(store).get_run(logger.run_id).info.status]
        resumed = pl.loggers.MLFlowLogger(name, run_id=logger.run_id, **options)
        resumed.log_metrics({"a": 1.0}, 0)
        return [*found, _client(store).get_run(logger.run_id).info.status]

    theirs, ours = both(lightning, fulmen, states)
    assert theirs == ["FAILED", "FAILED"]
    assert ours == ["KILLED", "RUNNING"]


def test_a_logger_for_mlflow_without_an_address_works(
    lightning: ModuleType, fulmen: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 70. ``MLFlowLogger()``, and an address that is set after the import."""
    pytest.importorskip("mlflow.environment_variables")
    from mlflow import environment_variables

    if not hasattr(environment_variables, "MLFLOW_ALLOW_FILE_STORE"):
        pytest.skip("this MLflow keeps runs in files")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def made(pl: Any) -> bool:
        try:
            pl.loggers.MLFlowLogger()
            return True
        except Exception:
            return False

    assert both(lightning, fulmen, made) == (False, True)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    with quiet():
        assert lightning.loggers.MLFlowLogger()._tracking_uri == "file:./mlruns"
    assert fulmen.loggers.MLFlowLogger()._tracking_uri == "sqlite:///here.db"
