from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.checkpoint.capture import dump, restore_model, restore_training
from fulmen.core.datamodule import LightningDataModule
from fulmen.precision.precision import Precision
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


class Scheduled(Net):
    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()

    def configure_optimizers(self) -> Any:
        optimizer = Adam(self.parameters(), self.hparams.lr)
        return [optimizer], [StepLR(optimizer, 1, 0.5)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        CALLS.append("module save")
        checkpoint["mine"] = 7

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        CALLS.append(f"module load {checkpoint['mine']}")


class Data(LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.position = 0

    def train_dataloader(self) -> Any:
        return data(2)

    def state_dict(self) -> dict[str, Any]:
        return {"position": 5}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        CALLS.append("data load_state")
        self.position = state["position"]


class Counts(Callback):
    def __init__(self) -> None:
        self.count = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        CALLS.append("callback load_state")
        self.count = state["count"]

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        CALLS.append("callback save")

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        CALLS.append("callback load")


class Exact(Precision):
    def state_dict(self) -> dict[str, Any]:
        return {"scale": 3}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        CALLS.append(f"precision load_state {state['scale']}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        CALLS.append("precision save")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        CALLS.append("precision load")


def trained(**flags: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, "max_epochs": 2, **flags}, callbacks=[Counts()], plugins=[Exact()])
    trainer.fit(Scheduled(0.5), datamodule=Data())
    return trainer


def test_keys_are_those_that_people_know() -> None:
    checkpoint = dump(trained())
    assert list(checkpoint) == [
        "epoch", "global_step", "pytorch-lightning_version", "fulmen", "state_dict", "loops", "callbacks",
        "optimizer_states", "lr_schedulers", "Exact", "hparams_name", "hyper_parameters", "Data", "mine",
    ]  # fmt: skip
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 4)
    assert checkpoint["callbacks"] == {"Counts": {"count": 4}}
    assert checkpoint["hyper_parameters"] == {"lr": 0.5}
    assert checkpoint["Data"] == {"position": 5}
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 2
    assert CALLS == ["precision save", "callback save", "module save"]


def test_weights_alone() -> None:
    checkpoint = dump(trained(), weights_only=True)
    assert not {"callbacks", "optimizer_states", "lr_schedulers", "Exact"} & set(checkpoint)
    assert {"state_dict", "hyper_parameters", "Data", "mine"} <= set(checkpoint)
    assert CALLS == ["module save"]


def test_everybody_gets_back_what_was_theirs() -> None:
    first = trained()
    first.save_checkpoint("run.ckpt")
    CALLS.clear()
    second = Trainer(**{**QUIET, "max_epochs": 3}, callbacks=[Counts()], plugins=[Exact()])
    module, datamodule = Scheduled(0.5), Data()
    second.fit(module, datamodule=datamodule, ckpt_path="run.ckpt")
    assert CALLS == [
        "module load 7", "data load_state", "callback load", "callback load_state", "precision load",
        "precision load_state 3",
    ]  # fmt: skip
    assert (second.global_step, second.current_epoch) == (6, 3)
    assert datamodule.position == 5
    assert second.callbacks[0].count == 6  # type: ignore[attr-defined]
    assert second.optimizers[0].param_groups[0]["lr"] == 0.5**4
    assert second.optimizers[0].state_dict()["state"][0]["step"] == 6


def test_going_on_is_like_never_having_stopped() -> None:
    torch.manual_seed(0)
    whole = Scheduled(0.5)
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    fit(whole, data(3), max_epochs=4)
    parts = Scheduled(0.5)
    parts.load_state_dict(start)
    fit(parts, data(3), max_epochs=2).save_checkpoint("half.ckpt")
    again = Scheduled(0.5)
    fit_from(again, "half.ckpt", max_epochs=4)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def fit_from(module: Net, path: str, **flags: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, **flags})
    trainer.fit(module, data(3), ckpt_path=path)
    return trainer


def test_a_file_of_weights_alone_says_nothing_to_callbacks() -> None:
    first = trained()
    first.save_checkpoint("weights.ckpt", weights_only=True)
    CALLS.clear()
    checkpoint = first.strategy.load_checkpoint("weights.ckpt")
    restore_model(first, checkpoint)
    assert CALLS == ["module load 7", "data load_state", "precision load"]
    with pytest.raises(MisconfigurationException, match="load_from_checkpoint"):
        restore_training(first, checkpoint)


def test_callbacks_that_are_not_there_any_more() -> None:
    fit(Net(), callbacks=[EarlyStopping("loss", strict=False)]).save_checkpoint("stop.ckpt")
    with pytest.warns(UserWarning, match=r"\"EarlyStopping\{'monitor': 'loss', 'mode': 'min'\}\"\]\. Add them to"):
        fit_from(Net(), "stop.ckpt", max_epochs=2)


def resaved(change: Any) -> str:
    fit(Scheduled(), max_epochs=2).save_checkpoint("changed.ckpt")
    checkpoint = torch.load("changed.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, "changed.ckpt")
    return "changed.ckpt"


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda c: c["optimizer_states"].append({}), "Return the same ones"),
        (lambda c: c["lr_schedulers"].clear(), "Return the same ones"),
        (lambda c: c["state_dict"].pop("layer.bias"), r"self\.strict_loading = False"),
        (lambda c: c["optimizer_states"][0]["param_groups"].append({"params": []}), "same groups of parameters"),
        (lambda c: c["fulmen"]["course"]["progress"].update(epoch=5), "`max_epochs` to more than 5"),
    ],
)
def test_what_does_not_fit(change: Any, advice: str) -> None:
    path = resaved(change)
    with pytest.raises(MisconfigurationException, match=f"What to do: .*{advice}"):
        fit_from(Scheduled(), path, max_epochs=3)


def test_missing_weights_on_purpose() -> None:
    module = Scheduled()
    module.strict_loading = False
    path = resaved(lambda checkpoint: checkpoint["state_dict"].pop("layer.bias"))
    assert fit_from(module, path, max_epochs=3).current_epoch == 3


def test_another_error_of_loading_is_shown_as_it_is() -> None:
    class Breaks(Scheduled):
        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("boo")

    path = resaved(lambda checkpoint: None)
    with pytest.raises(RuntimeError, match=r"^boo$"):
        fit_from(Breaks(), path, max_epochs=3)


def test_files_of_others_know_epochs_and_steps_alone() -> None:
    """They are saved at the end of an epoch, which is not counted as complete yet."""

    def as_of_others(checkpoint: dict[str, Any]) -> None:
        del checkpoint["fulmen"], checkpoint["loops"]
        checkpoint["epoch"] = 1

    trainer = fit_from(Scheduled(), resaved(as_of_others), max_epochs=4)
    assert (trainer.current_epoch, trainer.global_step) == (4, 4 + 2 * 3)


def test_a_file_of_another_program_from_the_middle_of_an_epoch() -> None:
    """It says how many batches were used, and these are left out."""

    class Saves(Scheduled):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.global_step == 2:
                self.trainer.save_checkpoint("middle.ckpt")

    whole = fit(Saves(), data(3))
    checkpoint = torch.load("middle.ckpt", weights_only=True)
    del checkpoint["fulmen"]
    torch.save(checkpoint, "foreign.ckpt")
    for name in ("middle.ckpt", "foreign.ckpt"):
        trainer = fit_from(Scheduled(), name)
        assert (trainer.current_epoch, trainer.global_step) == (1, 3)
        for one, other in zip(trainer.lightning_module.parameters(), whole.lightning_module.parameters(), strict=True):
            assert torch.equal(one, other)
