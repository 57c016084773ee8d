"""What the clock decides, and what one process alone wants: all do it after the same step."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.loops.schedule import ValidationPlan
from fulmen.utilities.exceptions import MisconfigurationException

from .groups import GroupFailed, group, run
from .test_elastic_runs import Model


def fit(callbacks: list[pl.Callback], **flags: Any) -> tuple[pl.Trainer, Model]:
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    model = Model()
    data = TensorDataset(torch.arange(48))
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=20, callbacks=callbacks, logger=False,
        enable_checkpointing=any(isinstance(one, pl.callbacks.ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **flags,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, 4, shuffle=True), DataLoader(data, 24))
    return trainer, model


class Watch(pl.Callback):
    """Knows the number of batches done, for clocks that go by it."""

    batches = 0

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.batches = trainer.progress.batches


class Stopper(pl.Callback):
    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_rank == 1 and trainer.progress.batches == 5:
            trainer.should_stop = True


def timed() -> int:
    watch, timer = Watch(), pl.callbacks.Timer(timedelta(days=1))
    is_first = os.environ["LOCAL_RANK"] == "0"
    timer._is_over = lambda: watch.batches >= 3 if is_first else watch.batches >= 1  # type: ignore[method-assign]
    return fit([watch, timer])[0].progress.batches


def saved(folder: Path) -> list[str]:
    watch = Watch()
    checkpoint = pl.callbacks.ModelCheckpoint(folder, train_time_interval=timedelta(days=1), save_top_k=-1)
    due = [3, 20] if os.environ["LOCAL_RANK"] == "0" else [1, 2, 5]
    known: list[int] = []

    def is_over() -> bool:
        if due and watch.batches >= due[0]:
            known.append(due.pop(0))
            return True
        return False

    checkpoint._is_time_over = is_over  # type: ignore[method-assign]
    fit([watch, checkpoint], max_steps=40)
    return sorted(os.path.basename(path) for path in checkpoint.best_k_models or folder.iterdir())


def validated() -> list[int]:
    watch = Watch()
    is_first, due = os.environ["LOCAL_RANK"] == "0", [4]
    before = ValidationPlan._is_over
    ValidationPlan._is_over = lambda self: bool(  # type: ignore[method-assign]
        is_first and due and watch.batches >= due[0] and due.pop()
    )
    try:
        return fit([watch], max_steps=20, val_check_interval=timedelta(days=1))[1].validations
    finally:
        ValidationPlan._is_over = before  # type: ignore[method-assign]


def stopped() -> tuple[int, int]:
    trainer, _ = fit([Stopper()])
    return trainer.progress.batches, trainer.global_step


def test_the_clock_of_rank_zero_decides(tmp_path: Path) -> None:
    with group(2, FULMEN_STALL_TIMEOUT="30") as processes:
        one, other = processes.run(timed)
        assert one == other and 3 < one <= 8
        one, other = processes.run(saved, tmp_path)
        assert one == other and len(one) == 2
        one, other = processes.run(validated)
        assert one == other and len(one) == 1
        one, other = processes.run(stopped)
        assert one == other and 5 <= one[0] <= 6


class Fails(pl.Callback):
    """Fails on one rank, and would like to save then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.message = folder, ""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.progress.batches == 3 and trainer.global_rank == 1:
            raise ValueError("here")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        try:
            trainer.save_checkpoint(self.folder / "own.ckpt")
        except MisconfigurationException as error:
            self.message = str(error)


def failed(folder: Path) -> None:
    fails = Fails(folder)
    own = [
        fails, pl.callbacks.ModelCheckpoint(folder, save_on_exception=True, every_n_train_steps=100),
        pl.callbacks.OnExceptionCheckpoint(folder),
    ]  # fmt: skip
    try:
        fit(own)
    finally:
        (folder / f"{os.environ['LOCAL_RANK']}.txt").write_text(fails.message)


def test_nothing_is_saved_by_what_is_left_of_a_group(tmp_path: Path) -> None:
    with pytest.raises(GroupFailed, match="here"):
        run(failed, 2, tmp_path)
    message = (tmp_path / "1.txt").read_text()
    assert "Only a group of processes that is whole saves" in message and 'ckpt_path="last"' in message
    assert not list(tmp_path.glob("*.ckpt"))
