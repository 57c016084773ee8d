"""The loggers of services leave the runs that PyTorch Lightning's leave, read back from what the services keep."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from .scenarios import quiet

pytest.importorskip("pytorch_lightning", reason="the reference of the parity tests")


def _reader(name: str) -> Any:
    """A module that reads what a service wrote, from the tests of the loggers."""
    path = Path(__file__).parents[1] / "loggers" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fit(pl: Any, logger: Any, folder: Path) -> Any:
    """Two epochs with validation, hyper-parameters and checkpoints, then a test."""

    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1, net: Any = None, notes: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).pow(2).mean()
            self.log("train/loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val loss", self.layer(batch).mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("test", self.layer(batch).mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), self.hparams["lr"])

    data = DataLoader(torch.arange(32.0).reshape(8, 4) / 32, batch_size=2)
    checkpoint = pl.callbacks.ModelCheckpoint(
        folder, filename="{epoch}", monitor="val loss", save_top_k=2, save_last=True
    )
    torch.manual_seed(0)
    with quiet():
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=2,
            log_every_n_steps=2,
            logger=logger,
            callbacks=[checkpoint],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Model(net={"act": "relu", "k": [1, 2]}, notes=None)
        trainer.fit(module, data, data)
        trainer.test(module, data, verbose=False)
    return trainer


def _points(client: Any, run: str, name: str) -> list[tuple[int, float]]:
    """What is equal is counted once: MLflow makes one of what arrives twice in a millisecond."""
    return sorted({(one.step, one.value) for one in client.get_metric_history(run, name)})


@pytest.mark.parametrize("log_model", [False, True, "all"])
def test_mlflow_keeps_the_same(
    lightning: ModuleType, fulmen: ModuleType, tmp_path_factory: pytest.TempPathFactory, log_model: Any
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{tmp_path_factory.getbasetemp()}/parity.db"  # to make one takes seconds
    found = []
    for pl in (lightning, fulmen):
        folder = tmp_path_factory.mktemp(pl.__name__)
        options = {"prefix": "p", "tags": {"kind": "test"}, "artifact_location": str(folder / "artifacts")}
        with quiet():
            logger = pl.loggers.MLFlowLogger(str(folder), "named", store, log_model=log_model, **options)
        trainer = _fit(pl, logger, folder / "checkpoints")
        assert trainer.log_dir == logger.log_dir
        assert (logger.name, logger.version) == (logger.experiment_id, logger.run_id)
        assert (logger.save_dir, logger.root_dir, logger.group_separator) == (None, None, "/")
        client = MlflowClient(store)
        run = client.get_run(logger.run_id)
        metrics = {
            name: [(step, pytest.approx(value)) for step, value in _points(client, logger.run_id, name)]
            for name in run.data.metrics
        }
        tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.source.name"}
        info = (run.info.status, run.info.run_name, logger.tags)
        found.append((info, run.data.params, tags, metrics, dict(_artifacts(folder / "artifacts" / logger.run_id))))
    assert found[0][3].keys() >= {"p-train/loss_step", "p-train/loss_epoch", "p-val loss", "p-test", "p-epoch"}
    assert bool(found[0][4]) == bool(log_model)
    assert found[1] == found[0]


def _artifacts(folder: Path) -> Iterator[tuple[str, Any]]:
    """The files of a run; of checkpoints the name alone, since the two frameworks' hold different things."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = None if path.suffix == ".ckpt" else path.read_text().rpartition("score: ")[0] or path.read_text()
            yield str(path.relative_to(folder)), text


@pytest.mark.parametrize("log_model", [True, "all"])
def test_wandb_keeps_the_same(
    lightning: ModuleType,
    fulmen: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_model: Any,
) -> None:
    wandb: Any = pytest.importorskip("wandb")
    reader = _reader("wandb_file")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off", "X_DISABLE_STATS": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    found = []
    for pl in (lightning, fulmen):
        folder = tmp_path / pl.__name__
        options = {"prefix": "p", "tags": ["t"], "config": {"given": 1}}
        with quiet():
            logger = pl.loggers.WandbLogger("named", folder, "mine", project="own", log_model=log_model, **options)
        _fit(pl, logger, folder / "checkpoints")
        with quiet():
            logger.log_image("image", [torch.zeros(4, 4, 3, dtype=torch.uint8).numpy()] * 2, caption=["a", "b"], step=9)
            logger.log_table("table", columns=["x", "y"], data=[[1, "a"]], step=10)
            logger.log_text("text", columns=["x", "y"], data=[["1", "a"]])
            wandb.finish()
        assert (logger.name, logger.version, logger.save_dir) == ("own", "mine", str(folder))
        content = reader.content(folder)
        for row in content["history"]:
            for key in [key for key in row if key.endswith(("path", "filenames"))]:
                del row[key]  # they hold random numbers
        for _, _, about, _, _ in content["artifacts"]:
            if about.get("score") is not None:
                about["score"] = pytest.approx(about["score"])
        content["history"] = [_near(row) for row in content["history"]]
        del content["summary"]
        found.append(content)
    assert found[0]["artifacts"]
    assert found[1] == found[0]


def _near(row: dict[str, Any]) -> dict[str, Any]:
    return {key: pytest.approx(value) if isinstance(value, float) else value for key, value in row.items()}


@pytest.fixture(scope="module")
def comet_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """One process for both, since ``comet_ml`` changes other packages: what it left, and what it printed."""
    pytest.importorskip("comet_ml")
    folder = tmp_path_factory.mktemp("comet")
    code = """
        import comet_ml, argparse, json, os, sys, torch, importlib
        for name in ("pytorch_lightning", "fulmen"):
            pl = importlib.import_module(name)
            kind = importlib.import_module(f"{name}.loggers").CometLogger
            logger = kind(
                project="own", workspace="w", prefix="p", experiment_key=name.ljust(32, "0").replace("_", "0"),
                name="named", tags=["t"], offline_directory=name,
            )
            shown = [logger.name, logger.save_dir, logger.root_dir, logger.log_dir]
            logger.log_hyperparams(argparse.Namespace(lr=0.1, net={"act": "relu", "k": [1, 2]}, none=None, on=True))
            for step in range(3):
                logger.log_metrics({"loss": 0.5 * step, "epoch": step // 2, "t": torch.tensor(1.5)}, step)
            logger.log_graph(torch.nn.Linear(2, 1))
            logger.finalize("success")
            assert logger.version == name.ljust(32, "0").replace("_", "0")
            logger.experiment.end()

            logger = kind(online=False, offline_directory=f"{name}_offline")
            logger.log_metrics({"loss": 0.5}, 0)
            logger.experiment.end()
            print(json.dumps([shown, os.path.isdir(f"{name}_offline") and len(os.listdir(f"{name}_offline"))]))
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
    environment |= {"COMET_START_ONLINE": "false", "COMET_DISABLE_AUTO_LOGGING": "1", "HOME": str(folder)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    (folder / "script.py").write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.soak  # to import it takes longest
def test_comet_keeps_the_same(comet_runs: tuple[Path, list[Any]]) -> None:
    folder, printed = comet_runs
    assert [shown for shown, _ in printed] == [["own", name, None, None] for name in ("pytorch_lightning", "fulmen")]
    reader = _reader("comet_archive")
    found = [reader.content(folder / name) for name in ("pytorch_lightning", "fulmen")]
    for content in found:
        assert len(content.pop("key")) == 32
        content["others"].pop("Created from")
        assert content.pop("uploads")  # the script
    assert len(found[0]["metrics"]) == 6
    assert found[1] == found[0]


def test_offline_comet_writes_an_archive(comet_runs: tuple[Path, list[Any]]) -> None:
    """Row 71. One value is logged to ``CometLogger(online=False)``."""
    folder, ((_, theirs), (_, ours)) = comet_runs
    assert (theirs, ours) == (0, 1)
    assert _reader("comet_archive").content(folder / "fulmen_offline")["metrics"] == [("loss", 0.5, 0, None)]
