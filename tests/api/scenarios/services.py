"""Loggers of services, offline. Their packages change the process that imports them: see ``elsewhere.py``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint
from fulmen.loggers import CometLogger, MLFlowLogger, WandbLogger
from fulmen.loggers.neptune import NeptuneLogger

from .runs import SMALL, Model


def _use(logger: Any, folder: Path) -> None:
    """A run, and each thing by hand that all of them have."""
    checkpoint = ModelCheckpoint(folder / "checkpoints")
    flags: dict[str, Any] = {**SMALL, "logger": logger, "enable_checkpointing": True}
    pl.Trainer(**flags, callbacks=[checkpoint]).fit(Model())
    logger.log_metrics({"loss": 1.0}, 3)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_graph(Model(), torch.zeros(1, 32))
    for name in ("name", "version", "save_dir"):
        getattr(logger, name)
    assert logger.experiment is not None
    logger.finalize("success")


def comet(folder: Path) -> None:
    """An archive."""
    os.environ.update(COMET_DISABLE_AUTO_LOGGING="1", COMET_LOGGING_CONSOLE="error")
    logger = CometLogger(online=False, project="p", offline_directory=str(folder / "comet"))
    _use(logger, folder)
    logger.experiment.end()
    assert list((folder / "comet").glob("*.zip"))


def mlflow(folder: Path) -> None:
    """A database in a file."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logger = MLFlowLogger(save_dir=str(folder / "mlflow"), log_model=True)
    _use(logger, folder)
    assert logger.run_id and logger.experiment_id
    assert (folder / "mlflow" / "mlflow.db").exists()


def wandb(folder: Path) -> None:
    """A run of files, and its media."""
    import wandb

    names = {"data": folder, "cache": folder, "config": folder}
    os.environ.update({f"WANDB_{name.upper()}_DIR": str(place / name) for name, place in names.items()})
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_X_DISABLE_STATS="true")
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    logger = WandbLogger(save_dir=folder, project="p", log_model=True)
    _use(logger, folder)
    logger.watch(Model())
    logger.log_image("image", [torch.zeros(3, 4, 5)])
    logger.log_audio("audio", [torch.zeros(100)], sample_rate=[8000])
    logger.log_video("video", [torch.zeros(2, 3, 8, 8)])
    logger.log_table("table", columns=["x"], data=[[1]])
    logger.log_text("text", columns=["x"], data=[["a"]])
    with mock.patch.object(type(logger.experiment), "use_artifact") as used:  # both ask the server
        used.return_value.download.return_value = "here"
        logger.use_artifact("me/p/model:best")
        assert WandbLogger.download_artifact("me/p/model:best") == "here"
    wandb.finish()
    wandb.teardown()


def neptune(folder: Path) -> None:
    """Its service is gone."""
    with suppress(RuntimeError):
        NeptuneLogger()
