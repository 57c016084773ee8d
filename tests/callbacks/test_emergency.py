"""What an exception leaves, end to end: real runs that fail, and go on from what was saved then."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer

BATCHES, WINDOW = 8, 3
pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints")
INEXACT = r"middle of a step.*first batch of the accumulation window.*buffers, random states"


class Boom(Exception): ...


class Numbers(Dataset[Any]):
    failing: int | None = None

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> Any:
        if index == Numbers.failing:
            raise Boom("no such file")
        return torch.tensor([float(index), 1.0])


class Net(LightningModule):
    """Notes what it does, and fails once at a given place."""

    def __init__(self, failing: str = "") -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.failing = failing
        self.done: list[str] = []

    def _do(self, what: str) -> None:
        if what == self.failing:
            raise Boom(what)
        self.done.append(what)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self._do(f"train {batch_idx}")
        return (self.layer(batch) - 1).pow(2).mean()

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._do("update")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self._do(f"val {batch_idx}")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(module: Net, ckpt_path: Any = None, workers: int = 0, **flags: Any) -> Trainer:
    saves = ModelCheckpoint("saved", "{step}", save_on_exception=True, every_n_epochs=9)
    trainer = Trainer(**{
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "max_epochs": 1, "accumulate_grad_batches": WINDOW, "callbacks": [saves], "num_sanity_val_steps": 0, **flags,
    })  # fmt: skip
    checks: DataLoader[Any] = DataLoader(Numbers(), 4)
    trainer.fit(module, DataLoader(Numbers(), 1, num_workers=workers), checks, ckpt_path=ckpt_path)
    return trainer


def failed(failing: str, **flags: Any) -> tuple[Net, str]:
    """A run that fails, and what it left."""
    module = Net(failing)
    with pytest.raises(Boom):
        fit(module, **flags)
    [name] = os.listdir("saved")
    return module, os.path.join("saved", name)


def course(path: str) -> Any:
    return torch.load(path)["fulmen"]["course"]


def same_weights(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(dict(one.state_dict()), dict(other.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("failing", "first"), [("train 3", 3), ("train 4", 3), ("train 5", 3), ("train 6", 6), ("train 7", 6)]
)
def test_a_failed_window_begins_again(failing: str, first: int) -> None:
    whole = Net()
    fit(whole)
    _, path = failed(failing)
    assert course(path)["exact"] is False
    again = Net()
    with pytest.warns(UserWarning, match=INEXACT):
        fit(again, path)
    assert again.done == whole.done[whole.done.index(f"train {first}") :]
    same_weights(again, whole)  # there are no buffers and no random numbers here


def test_a_failed_update_begins_its_window_again() -> None:
    class Fails(Net):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            if len(self.done) > 4 and self.failing:
                raise Boom("update")
            super().on_before_optimizer_step(optimizer)

    whole, module = Net(), Fails("update later")
    fit(whole)
    with pytest.raises(Boom):
        fit(module)
    again = Net()
    with pytest.warns(UserWarning, match=INEXACT):
        fit(again, "saved/step=1.ckpt")
    assert again.done == whole.done[whole.done.index("train 3") :]
    same_weights(again, whole)


@pytest.mark.parametrize("batch", [0, 1])
def test_a_failed_validation_runs_again(batch: int) -> None:
    whole = Net()
    fit(whole)
    _, path = failed(f"val {batch}")
    assert course(path)["exact"] is False
    again = Net()
    with pytest.warns(UserWarning, match="not as they were"):
        fit(again, path)
    assert again.done == ["val 0", "val 1"]
    same_weights(again, whole)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("index", [4, 6])
def test_data_that_cannot_be_fetched_are_asked_for_again(index: int, workers: int) -> None:
    whole = Net()
    fit(whole)
    Numbers.failing = index
    try:
        module, path = failed("", workers=workers)
    finally:
        Numbers.failing = None
    again = Net()
    with pytest.warns(UserWarning, match="not as they were"):
        fit(again, path, workers=workers)
    trained = [one for one in (*module.done, *again.done) if one.startswith("train")]
    assert set(trained) == {f"train {number}" for number in range(BATCHES)}
    assert again.done == whole.done[-len(again.done) :]
    same_weights(again, whole)


def test_a_callback_that_fails_after_a_step() -> None:
    class Fails(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise Boom("after the step")

    whole = Net()
    fit(whole)
    with pytest.raises(Boom):
        fit(Net(), callbacks=[Fails(), ModelCheckpoint("saved", "{step}", save_on_exception=True, every_n_epochs=9)])
    again = Net()
    with pytest.warns(UserWarning, match="not as they were"):
        fit(again, "saved/step=1.ckpt")
    assert again.done == whole.done[whole.done.index("train 5") :]
    same_weights(again, whole)


def test_what_was_saved_at_this_very_place_is_enough() -> None:
    """The file of the step before is exact; an emergency could not be better."""
    saves = ModelCheckpoint("saved", "{step}", save_on_exception=True, every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(Boom):
        fit(Net("train 5"), accumulate_grad_batches=1, callbacks=[saves])
    assert sorted(os.listdir("saved")) == [f"step={step}.ckpt" for step in range(1, 6)]
    assert course("saved/step=5.ckpt")["exact"]


def test_a_second_ctrl_c_leaves_an_emergency_too() -> None:
    class Stops(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if batch_idx == 4 and self.failing:
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    with pytest.raises(KeyboardInterrupt):
        fit(Stops("yes"))
    assert course("saved/step=1.ckpt")["progress"]["batch"] == 3


def test_files_of_steps_say_nothing_of_the_kind() -> None:
    trainer = fit(Net(), max_steps=1)
    trainer.save_checkpoint("exact.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Net(), "exact.ckpt")
    assert Path("exact.ckpt").exists()
