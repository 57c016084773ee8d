"""A script that is started again and again: the files that it keeps are those of a run that was never stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import ModelCheckpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is not empty.*"),
    pytest.mark.filterwarnings("ignore:.*no checkpoint was found.*"),
]
LOSSES = [0.5, 0.1, 0.6, 0.7, 0.8, 0.9]


class Net(pl.LightningModule):
    def __init__(self, stop: int | None = None, how: str = "signal") -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.stop, self.how = stop, how

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.stop == self.global_step:
            if self.how == "error":
                raise KeyError("wanted")
            signal.raise_signal(signal.SIGTERM)
        return self.layer(batch).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", LOSSES[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def start(stop: int | None, callback: ModelCheckpoint, how: str = "signal", logger: Any = False) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=6, logger=logger, callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    data = DataLoader(torch.ones(8, 1), 2)  # type: ignore[arg-type]
    try:
        trainer.fit(Net(stop, how), data, data, ckpt_path="auto")
    except SystemExit as exit_:
        assert exit_.code == 143
    except KeyError:
        assert how == "error"
    return trainer


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.ckpt"))


@pytest.mark.parametrize("how", ["signal", "error"])
@pytest.mark.parametrize("stops", [[10], [2, 3, 9], [0, 13, 13, 14, 23]])
@pytest.mark.parametrize(
    "settings",
    [
        {"monitor": "val_loss", "save_top_k": 2},
        {"monitor": "val_loss", "save_top_k": 1, "save_last": True},
        {"monitor": "val_loss", "save_top_k": 3, "save_last": "link"},
        {"every_n_train_steps": 3, "save_top_k": 1},
        {"every_n_train_steps": 3, "save_top_k": 2, "monitor": "step", "mode": "max", "save_last": True},
    ],
    ids=str,
)
def test_the_same_files_are_kept(tmp_path: Path, settings: Any, stops: list[int], how: str) -> None:
    whole = ModelCheckpoint(tmp_path / "whole", **settings)
    start(None, whole)
    for stop in [*stops, None]:
        again = ModelCheckpoint(tmp_path / "again", **settings)
        start(stop, again, how)
    extra = set(kept(tmp_path / "again")) - set(kept(tmp_path / "whole"))
    if extra:  # the newest file from which the run could go on: none was good enough to be written after it
        assert how == "signal" and len(extra) == 1
        assert "val_loss" in str(settings) and settings.get("save_last") is not True
    assert set(kept(tmp_path / "whole")) <= set(kept(tmp_path / "again"))
    assert os.path.basename(again.best_model_path) == os.path.basename(whole.best_model_path)
    assert again.best_model_score == whole.best_model_score
    ranks = [
        {os.path.basename(path): score.item() for path, score in one.best_k_models.items()} for one in (again, whole)
    ]
    assert ranks[0] == ranks[1]


@pytest.mark.parametrize("top_k", [1, 3])
def test_the_best_of_the_run_before_is_still_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top_k: int
) -> None:
    """Each start has a new folder, as a logger with versions gives it."""
    monkeypatch.chdir(tmp_path)
    for stop in (14, 18, None):
        callback = ModelCheckpoint(monitor="val_loss", save_top_k=top_k)
        trainer = start(stop, callback, logger=pl.loggers.CSVLogger(tmp_path, name="logs"))
    assert callback.best_model_score == torch.tensor(0.1)
    assert "version_0" in callback.best_model_path and os.path.exists(callback.best_model_path)
    assert len(callback.best_k_models) == top_k
    assert all(map(os.path.exists, callback.best_k_models))
    assert trainer.callback_metrics["val_loss"] == torch.tensor(0.9)


def test_ranks_of_files_that_are_gone_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(14, ModelCheckpoint(monitor="val_loss", save_top_k=3), logger=pl.loggers.CSVLogger(tmp_path, name="logs"))
    (best,) = tmp_path.rglob("*epoch=1-*.ckpt")
    best.unlink()
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=3)
    start(None, callback, logger=pl.loggers.CSVLogger(tmp_path, name="logs"))
    assert sorted(round(score.item(), 1) for score in callback.best_k_models.values()) == [0.5, 0.6, 0.7]
    assert callback.best_model_score == torch.tensor(0.5)


def test_a_file_that_the_user_names_stays(tmp_path: Path) -> None:
    start(None, ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1))
    callback = ModelCheckpoint(tmp_path, "{epoch}")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=6, logger=False, callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    data = DataLoader(torch.ones(8, 1), 2)  # type: ignore[arg-type]
    trainer.fit(Net(), data, data, ckpt_path=tmp_path / "epoch=3.ckpt")
    assert (tmp_path / "epoch=3.ckpt").exists()
