"""Hooks that get the outputs of an epoch, as the documentation of 1.5 and 1.9 describes them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from fulmen import LightningModule, Trainer
from fulmen.callbacks import Callback, EarlyStopping, ModelCheckpoint
from fulmen.compat import v1
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "max_epochs": 1, "accelerator": "cpu",
}  # fmt: skip


def loader(count: int) -> DataLoader[Any]:
    return DataLoader(torch.arange(count * 2.0).reshape(count, 2), batch_size=1)


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.heard: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.layer(batch).sum(), "index": batch_idx, "seen": batch.sum()}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"sum": batch.sum(), "of": dataloader_idx}

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.001)


def test_every_epoch_gets_what_its_steps_gave() -> None:
    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            self.heard.append(("train", [one["index"] for one in outputs]))
            assert all(not one["loss"].requires_grad for one in outputs)
            assert [one["seen"].item() for one in outputs] == [1.0, 5.0, 9.0]

        def validation_epoch_end(self, outputs: Any) -> None:
            self.heard.append(("validation", [one["sum"].item() for one in outputs]))

    model = Old()
    trainer = Trainer(**{**QUIET, "max_epochs": 2}, num_sanity_val_steps=1)
    trainer.fit(model, loader(3), loader(2))
    once = [("validation", [1.0, 5.0]), ("train", [0, 1, 2])]
    assert model.heard == [("validation", [1.0]), *once, *once]  # the sanity check calls it too


def test_tensors_alone_come_in_dicts_in_training_and_as_they_are_in_validation() -> None:
    class Old(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).sum()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return batch.sum() if batch_idx != 1 else None

        def training_epoch_end(self, outputs: Any) -> None:
            assert [set(one) for one in outputs] == [{"loss"}] * 2
            self.log("mean", torch.stack([one["loss"] for one in outputs]).mean())

        def validation_epoch_end(self, outputs: Any) -> None:
            self.log("total", torch.stack(outputs).sum())

    trainer = Trainer(**QUIET)
    trainer.fit(Old(), loader(2), loader(3))
    assert trainer.callback_metrics["total"] == 1.0 + 9.0
    assert "mean" in trainer.callback_metrics


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_several_loaders_make_a_list_each(verb: str) -> None:
    class Old(Model):
        def validation_epoch_end(self, outputs: Any) -> None:
            self.heard.append([[one["of"] for one in each] for each in outputs])

        test_epoch_end = validation_epoch_end

    model = Old()
    getattr(Trainer(**QUIET), verb)(model, [loader(2), loader(3)], verbose=False)
    assert model.heard == [[[0, 0], [1, 1, 1]]]


def test_the_order_is_that_of_1_x() -> None:
    heard: list[str] = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback on_train_epoch_end")

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback on_validation_epoch_end")

        def on_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback on_epoch_start")

        def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback on_epoch_end")

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback on_train_epoch_start")

    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            heard.append("training_epoch_end")

        def validation_epoch_end(self, outputs: Any) -> None:
            heard.append("validation_epoch_end")

        def on_train_epoch_end(self) -> None:
            heard.append("on_train_epoch_end")

        def on_validation_epoch_end(self) -> None:
            heard.append("on_validation_epoch_end")

        def on_epoch_start(self) -> None:
            heard.append("on_epoch_start")

        def on_epoch_end(self) -> None:
            heard.append("on_epoch_end")

    Trainer(**QUIET, callbacks=[Watch()], num_sanity_val_steps=0).fit(Old(), loader(1), loader(1))
    both = ["callback on_epoch_start", "on_epoch_start"]
    ends = ["callback on_epoch_end", "on_epoch_end"]
    assert heard == [
        *both, "callback on_train_epoch_start",
        *both, "validation_epoch_end", "callback on_validation_epoch_end", "on_validation_epoch_end", *ends,
        "training_epoch_end", "callback on_train_epoch_end", "on_train_epoch_end", *ends,
    ]  # fmt: skip


def test_callbacks_and_hooks_of_1_3_get_outputs() -> None:
    heard: list[tuple[str, int]] = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            heard.append(("callback train", len(outputs)))

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            heard.append(("callback validation", len(outputs)))

        def on_predict_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            heard.append(("callback predict", len(outputs[0])))

    class Old(Model):
        def on_train_epoch_end(self, outputs: Any) -> None:
            heard.append(("train", len(outputs)))

        def on_validation_epoch_end(self, outputs: Any) -> None:
            heard.append(("validation", len(outputs)))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return batch.sum()

        def on_predict_epoch_end(self, results: Any) -> None:
            assert [one.item() for one in results[0]] == [1.0, 5.0]
            heard.append(("predict", len(results)))

    model, trainer = Old(), Trainer(**QUIET, callbacks=[Watch()], num_sanity_val_steps=0)
    trainer.fit(model, loader(3), loader(2))
    assert heard == [("callback validation", 2), ("validation", 2), ("callback train", 3), ("train", 3)]
    heard.clear()
    assert len(trainer.predict(model, loader(2)) or []) == 2
    assert heard == [("callback predict", 2), ("predict", 1)]


def test_outputs_are_kept_only_where_they_are_wanted_and_let_go_afterwards() -> None:
    alive: list[weakref.ref[Any]] = []

    class Big:
        pass

    class Old(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            big = Big()
            alive.append(weakref.ref(big))
            return {"loss": self.layer(batch).sum(), "big": big}

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            big = Big()
            alive.append(weakref.ref(big))
            return big

        def training_epoch_end(self, outputs: Any) -> None:
            assert len(outputs) == 3
            gc.collect()
            assert sum(one() is not None for one in alive) == 3  # and none of validation

    class After(Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            gc.collect()
            assert [one() for one in alive] == [None] * len(alive)

    Trainer(**QUIET, callbacks=[After()]).fit(Old(), loader(3), loader(2))
    assert len(alive) == 3 + 2 + 2


def test_what_1_0_returned_is_logged_and_watched() -> None:
    class Old(Model):
        def validation_epoch_end(self, outputs: Any) -> Any:
            value = torch.tensor(3.0 - self.current_epoch)
            return {"val_loss": value, "log": {"logged": value}, "progress_bar": {"shown": value}, "hist": [1, 2]}

    checkpoint = ModelCheckpoint(monitor="val_loss")
    stopping = EarlyStopping("val_loss", stopping_threshold=1.5)
    trainer = Trainer(
        **{**QUIET, "max_epochs": 9, "enable_checkpointing": True}, callbacks=[checkpoint, stopping],
        log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Old(), loader(2), loader(1))
    assert trainer.current_epoch == 3
    assert checkpoint.best_model_score == 1.0
    assert trainer.callback_metrics["logged"] == 1.0
    assert set(trainer.logged_metrics) == {"logged"}
    assert trainer.progress_bar_metrics["shown"] == 1.0


def test_training_epoch_end_returns_nothing() -> None:
    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> Any:
            return outputs

    with pytest.raises(MisconfigurationException, match="leave out the `return`"):
        Trainer(**QUIET).fit(Old(), loader(1), loader(1))


@pytest.mark.filterwarnings("default::fulmen.compat.v1.hints.FormerInterfaceWarning")
def test_there_is_one_hint_for_a_feature() -> None:
    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            pass

    with pytest.warns(FormerInterfaceWarning, match=r"on_train_epoch_end\(self\)") as caught:
        for _ in range(2):
            Trainer(**QUIET).fit(Old(), loader(1), loader(1))
    assert len([one for one in caught if one.category is FormerInterfaceWarning]) == 1


def test_a_run_that_goes_on_within_an_epoch_says_what_is_missing() -> None:
    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            self.heard.append(len(outputs))

    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint("middle.ckpt")

    Trainer(**QUIET, callbacks=[Save()]).fit(Old(), loader(4), loader(1))
    model = Old()
    with pytest.warns(UserWarning, match="fewer than the epoch has batches"):
        Trainer(**QUIET).fit(model, loader(4), loader(1), ckpt_path="middle.ckpt")
    assert model.heard == [2]


def test_modern_code_has_no_companion() -> None:
    trainer = Trainer(**QUIET)
    trainer.fit(Model(), loader(2), loader(1))
    assert trainer.companions == ()
    assert v1.speaking is False
