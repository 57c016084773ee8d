from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.resume.course import Ema, Record, check_every_point, seed
from tests.resume.loaders import Augmented
from tests.resume.test_every_step import Model as Plain
from tests.tuner.models import QUIET, table
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import BatchSizeFinder
from fulmen.tuner import Tuner
from fulmen.utilities.exceptions import MisconfigurationException


class Sized(pl.LightningModule):
    """Asks the host for more memory than there is where a batch has more than `room` samples."""

    def __init__(self, room: int = 10**9, batch_size: int = 2, count: int = 60) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size
        self.layer = torch.nn.Linear(4, 1)
        self.kept: list[Any] = []

    def step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if len(batch[0]) > self.hparams["room"]:
            self.kept.append(batch)
            torch.empty(1 << 60)
        seen.append((self.trainer.state.stage.value, len(batch[0])))  # type: ignore[union-attr]
        loss: torch.Tensor = self.layer(batch[0]).pow(2).mean()
        return loss

    training_step = validation_step = test_step = predict_step = step

    def loader(self) -> Any:
        return DataLoader(table(self.hparams["count"]), self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)]


seen: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def _anew() -> None:
    seen.clear()


def quiet(**flags: Any) -> pl.Trainer:
    return pl.Trainer(**{"max_epochs": 1, "logger": False, **QUIET, **flags})


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_all_methods(method: str) -> None:
    """A real want of memory: what torch's allocator says when it cannot serve a request."""
    finder = BatchSizeFinder(steps_per_trial=2)
    model = Sized(room=20)
    getattr(quiet(callbacks=[finder], num_sanity_val_steps=0), method)(model)
    assert finder.optimal_batch_size == model.batch_size == model.hparams["batch_size"] == 16
    trials, after = seen[:8], seen[8:]
    assert [size for _, size in trials] == [2, 2, 4, 4, 8, 8, 16, 16]
    assert [size for _, size in after[:4]] == [16, 16, 16, 12]
    assert model.kept == []
    assert Tuner(quiet()).scale_batch_size(other := Sized(room=20), method=method) == 16 == other.batch_size


def test_schedules_see_the_size_that_was_found() -> None:
    """`configure_optimizers` asks how many steps there will be, which the size decides."""
    model = Sized(room=20)
    trainer = quiet(callbacks=[BatchSizeFinder()])
    trainer.fit(model)
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == trainer.global_step == 4


def test_validation_in_fit(tmp_path: Path) -> None:
    """For evaluation alone, as in Lightning's documentation; the sanity check comes first, and leaves nothing."""

    class Evaluating(BatchSizeFinder):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None: ...

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            self.scale_batch_size(trainer, pl_module)

    class Other(Sized):
        def train_dataloader(self) -> Any:
            return DataLoader(table(6), 3)

    model = Other(room=9)
    quiet(callbacks=[Evaluating(steps_per_trial=1, mode="binsearch", margin=0.0)], max_epochs=2).fit(model)
    assert model.batch_size == 9
    assert [size for stage, size in seen if stage == "train"] == [3] * 4
    assert ("sanity_check", 9) in seen
    assert seen[-7:] == [("validate", 9)] * 6 + [("validate", 6)]


KEPT: dict[str, Any] = {
    "size": lambda model: model.size,
    "data.size": lambda model: model.data["size"],
    "part.size": lambda model: model.part.size,
    "deep.own.size": lambda model: model.hparams["deep"]["own"]["size"],
}


@pytest.mark.parametrize("name", KEPT)
def test_where_the_size_is_kept(name: str) -> None:
    value = KEPT[name]

    class Named(pl.LightningModule):
        def __init__(self, deep: dict[str, Any]) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)
            self.size, self.data, self.part = 2, {"size": 2}, torch.nn.Linear(1, 1)
            self.part.size = 2  # type: ignore[assignment]

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch[0]).mean()

        def train_dataloader(self) -> Any:
            return DataLoader(table(30), value(self))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    model = Named({"own": {"size": 2}})
    assert Tuner(quiet()).scale_batch_size(model, batch_arg_name=name, max_trials=3) == 8 == value(model)


def test_other_errors_are_not_for_want_of_memory() -> None:
    class Broken(Sized):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("something else")

    model = Broken()
    with pytest.raises(RuntimeError, match="something else"):
        Tuner(quiet()).scale_batch_size(model)
    assert model.batch_size == 2


class Fixed(Sized):
    def train_dataloader(self) -> Any:
        return DataLoader(table(30), 5)


@pytest.mark.parametrize(
    ("model", "options", "remedy"),
    [
        (Sized(), {"train_dataloaders": [1]}, "Make the loader in `train_dataloader`"),
        (Sized(), {"dataloaders": [1], "method": "test"}, "Make the loader in `test_dataloader`"),
        (Sized(), {"batch_arg_name": "nowhere.size"}, r"name yours with `batch_arg_name=\.\.\.`"),
        (Fixed(), {}, r"Write `DataLoader\(\.\.\., batch_size=self\.batch_size\)` in `train_dataloader`"),
        (Sized(room=0), {}, "Make the model or the samples smaller"),
        (Sized(), {"method": "tune"}, r"Pass one of \('fit', 'validate', 'test', 'predict'\)"),
        (Sized(), {"dataloaders": [1]}, "Pass `train_dataloaders` and `val_dataloaders` instead"),
        (Sized(), {"val_dataloaders": [1], "method": "test"}, "Pass `dataloaders` instead"),
        (None, {}, "Pass the module"),
    ],
)
def test_mistakes(model: Any, options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        Tuner(quiet()).scale_batch_size(model, **options)


def test_not_twice_and_not_on_several_processes() -> None:
    trainer = quiet(callbacks=[BatchSizeFinder()])
    with pytest.raises(ValueError, match="Remove it to use the Tuner"):
        Tuner(trainer).scale_batch_size(Sized())
    trainer.strategy.world_size = 2
    with pytest.raises(MisconfigurationException, match=r"Find the size with `Trainer\(devices=1\)`"):
        trainer.fit(Sized())


def test_fast_dev_run() -> None:
    with pytest.warns(UserWarning, match="Skipping batch size scaler"):
        assert Tuner(quiet(fast_dev_run=True)).scale_batch_size(Sized()) is None
    finder = BatchSizeFinder()
    with pytest.warns(UserWarning, match="Skipping batch size scaler"):
        quiet(fast_dev_run=True, callbacks=[finder]).fit(Sized())


class Resumable(Plain):
    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.batch_size = 2

    def train_dataloader(self) -> Any:
        return DataLoader(Augmented(26), self.batch_size, shuffle=True)


def test_resumed_runs_keep_the_size(tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        model = Resumable(record)
        finder = BatchSizeFinder(max_trials=2, init_val=3)
        trainer = pl.Trainer(max_epochs=2, logger=record.logger, callbacks=[finder, *callbacks], **QUIET)
        trainer.fit(model, val_dataloaders=DataLoader(table(8), 4), ckpt_path=path)
        assert model.batch_size == finder.optimal_batch_size == 6
        return trainer

    check_every_point(fit, tmp_path, lambda points: points[1::3], lambda *_: None)


def test_lightning_s_arguments() -> None:
    finder = BatchSizeFinder("binsearch", 1, 4, 9, "size", 0.1, 64)
    assert BatchSizeFinder.SUPPORTED_MODES == ("power", "binsearch") and finder.optimal_batch_size == 4
    assert isinstance(Ema(), pl.Callback) and finder.state_dict() == {}
