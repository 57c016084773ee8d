from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit
from torch import nn

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.core.datamodule import LightningDataModule
from fulmen.trainer.attach import attach_callbacks, attach_module, check_ready, unwrap
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.states import TrainerFn


class Data(LightningDataModule):
    def train_dataloader(self) -> Any:
        return data(1)


def test_a_module_is_itself() -> None:
    net = Net()
    assert unwrap(net) is net
    assert vars(net)["_compiled_by"] is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_module_is_the_one_behind_it() -> None:
    net = Net()
    assert unwrap(torch.compile(net, backend="eager")) is net
    assert vars(net)["_compiled_by"] is not None
    assert unwrap(net) is net
    assert vars(net)["_compiled_by"] is None


@pytest.mark.parametrize(
    ("model", "got", "fix"),
    [
        (nn.Linear(1, 1), "Linear", "Derive your class"),
        (nn.Linear, "the class Linear", "Derive your class"),
        (Net, "the class Net", r"`Net\(\.\.\.\)`, with parentheses"),
        (data(), "DataLoader", "model first"),
        ("text", "str", "model first"),
    ],
)
def test_what_is_no_module(model: Any, got: str, fix: str) -> None:
    with pytest.raises(MisconfiguredType, match=f"Received: {got}\nWhat to do: .*{fix}"):
        unwrap(model)


def test_a_compiled_module_of_another_kind() -> None:
    with pytest.raises(MisconfiguredType, match="Derive your class"):
        unwrap(torch.compile(nn.Linear(1, 1), backend="eager"))


def test_a_module_made_without_its_base() -> None:
    class Forgets(Net):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    class ForgetsAll(Net):
        def __init__(self) -> None:
            self.lr = 0.1

    for kind in (Forgets, ForgetsAll):
        with pytest.raises(MisconfigurationException, match=r"`super\(\)\.__init__\(\)`"):
            unwrap(kind())


def test_module_and_trainer_know_each_other() -> None:
    net, first, second = Net(), Trainer(**QUIET), Trainer(**QUIET)
    for trainer in (first, second):
        attach_module(trainer, net)
        assert net.trainer is trainer
        assert net._logbook is trainer.logbook
        assert trainer.lightning_module is net


def test_a_data_module_may_come_as_the_loader() -> None:
    module = Data()
    trainer = fit(Net(), module)
    assert trainer.datamodule is module
    assert module.trainer is trainer
    assert trainer.global_step == 1


def test_a_data_module_of_ones_own() -> None:
    """What has the methods need not be of the class."""

    class Duck:
        trainer: Any = None

        def __init__(self) -> None:
            self.calls: list[str] = []

        def prepare_data(self) -> None:
            self.calls.append("prepare_data")

        def setup(self, stage: str) -> None:
            self.calls.append(f"setup {stage}")

        def teardown(self, stage: str) -> None:
            self.calls.append(f"teardown {stage}")

        def train_dataloader(self) -> Any:
            return data(1)

        def state_dict(self) -> dict[str, Any]:
            return {}

    duck = Duck()
    trainer = Trainer(**QUIET)
    trainer.fit(Net(), datamodule=duck)  # type: ignore[arg-type]
    assert duck.calls == ["prepare_data", "setup fit", "teardown fit"]


def test_data_comes_from_one_place() -> None:
    trainer = Trainer(**QUIET)
    with pytest.raises(MisconfigurationException, match="datamodule and train_dataloaders, val_dataloaders"):
        trainer.fit(Net(), data(), data(), Data())
    with pytest.raises(MisconfiguredType, match=r"the class Data\n.*with parentheses"):
        trainer.fit(Net(), datamodule=Data)  # type: ignore[arg-type]
    assert not hasattr(Data, "_trainer")


class Plain(Callback): ...


@pytest.mark.parametrize("brought", [Plain(), [Plain()], (Plain(),)])
def test_callbacks_that_a_module_brings(brought: Any) -> None:
    trainer = Trainer(**{**QUIET, "enable_checkpointing": True}, callbacks=[EarlyStopping("a")])
    net = Net()
    net.configure_callbacks = lambda: brought  # type: ignore[method-assign]
    attach_callbacks(trainer, net)
    assert [type(callback) for callback in trainer.callbacks] == [EarlyStopping, Plain, ModelCheckpoint]


def test_they_take_the_place_of_the_trainers() -> None:
    trainer = Trainer(**QUIET, callbacks=[EarlyStopping("a"), Plain()])
    net, own = Net(), EarlyStopping("b")
    net.configure_callbacks = lambda: [own]  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="brings its own EarlyStopping: the Trainer's give way"):
        attach_callbacks(trainer, net)
    assert trainer.early_stopping_callbacks == [own]
    net.configure_callbacks = lambda: None  # type: ignore[method-assign, assignment, return-value]
    attach_callbacks(trainer, net)
    assert trainer.early_stopping_callbacks == [own]


@pytest.mark.parametrize("fn", list(TrainerFn))
def test_what_is_missing_is_named(fn: TrainerFn) -> None:
    trainer, net = Trainer(**QUIET), Net()
    trainer.state.fn = fn
    attach_module(trainer, net)
    missing = {
        TrainerFn.FITTING: r"train_dataloaders=DataLoader\(",
        TrainerFn.VALIDATING: r"def validation_step\(self, batch, batch_idx\)",
        TrainerFn.TESTING: r"def test_step\(self, batch, batch_idx\)",
        TrainerFn.PREDICTING: r"trainer\.predict\(model, dataloaders=DataLoader\(",
    }
    with pytest.raises(MisconfigurationException, match=missing[fn]):
        check_ready(trainer, net, fn)


def test_names_of_all_who_listen_are_checked() -> None:
    misspelled = type("Mine", (Callback,), {"on_train_epoch_ends": lambda self: None})()
    with pytest.raises(MisconfigurationException, match="Did you mean `on_train_epoch_end`"):
        fit(Net(), callbacks=[misspelled])
    net = Net()
    net.configure_callbacks = lambda: [misspelled]  # type: ignore[method-assign]
    with pytest.raises(MisconfigurationException, match="Did you mean `on_train_epoch_end`"):
        fit(net)
