"""Events and signatures that only 1.x has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.compat.v1.test_outputs import QUIET, Model, loader
from torch.utils.data import DataLoader

from fulmen import LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import Callback, ModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


def noting(heard: list[str], who: str, *names: str) -> dict[str, Any]:
    def method(name: str) -> Any:
        def listen(self: Any, *args: Any) -> None:
            heard.append(f"{who}{name}")

        return listen

    return {"__module__": __name__, **{name: method(name) for name in names}}


def test_events_around_a_batch_come_in_the_order_of_1_x() -> None:
    heard: list[str] = []
    names = ("on_batch_start", "on_train_batch_start", "on_train_batch_end", "on_batch_end")
    callback = type("Watch", (Callback,), noting(heard, "callback ", *names))()
    model = type("Old", (Model,), noting(heard, "", *names))()
    Trainer(**QUIET, callbacks=[callback]).fit(model, loader(1), loader(1))
    assert heard == [who + name for name in names for who in ("callback ", "")]


def test_what_is_logged_there_has_the_defaults_of_its_place() -> None:
    class Old(Model):
        def training_step_end(self, output: Any) -> Any:
            self.log("step_end", 1.0)
            return output

        def on_batch_end(self) -> None:
            self.log("batch_end", 2.0)

        def on_epoch_end(self) -> None:
            self.log("epoch_end", 3.0)

        def validation_step_end(self, output: Any) -> Any:
            self.log("validation_step_end", output["sum"])

    trainer = Trainer(**QUIET, num_sanity_val_steps=0)
    trainer.fit(Old(), loader(2), loader(2))
    values = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert values == {"step_end": 1.0, "batch_end": 2.0, "epoch_end": 3.0, "validation_step_end": 3.0}


def test_minus_one_from_on_batch_start_ends_the_epoch() -> None:
    class Old(Model):
        def on_batch_start(self) -> Any:
            return -1 if self.trainer.progress.batch == 2 else None

    trainer = Trainer(**{**QUIET, "max_epochs": 2})
    trainer.fit(Old(), loader(5), loader(1))
    assert trainer.global_step == 4


def test_a_loss_may_be_made_in_training_step_end() -> None:
    class Old(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"predictions": self.layer(batch), "target": batch.sum()}

        def training_step_end(self, output: Any) -> Any:
            return torch.nn.functional.mse_loss(output["predictions"].squeeze(), output["target"])

        def validation_step_end(self, output: Any) -> Any:
            return output["sum"] * 2

        def validation_epoch_end(self, outputs: Any) -> None:
            self.heard.append([one.item() for one in outputs])

    model = Old()
    before = model.layer.weight.detach().clone()
    Trainer(**QUIET, num_sanity_val_steps=0).fit(model, loader(2), loader(2))
    assert not torch.equal(before, model.layer.weight)
    assert model.heard == [[2.0, 10.0]]


def test_events_of_the_setup_come_in_the_order_of_1_x() -> None:
    heard: list[str] = []
    names = (
        "on_before_accelerator_backend_setup", "setup", "on_configure_sharded_model", "on_fit_start",
        "on_pretrain_routine_start", "on_pretrain_routine_end", "on_sanity_check_start", "on_train_start",
    )  # fmt: skip

    class Watch(Callback):
        pass

    for name in names:
        setattr(Watch, name, lambda self, *args, name=name, **kwargs: heard.append(name))
    for name in ("on_post_move_to_device", "on_train_dataloader", "on_val_dataloader"):
        setattr(Watch, name, None)
    model = type("Old", (Model,), noting(heard, "module ", "on_post_move_to_device", "on_train_dataloader"))()
    Trainer(**QUIET, callbacks=[Watch()]).fit(model, loader(1), loader(1))
    mine = [name for name in heard if not name.startswith("module ")]
    assert mine == list(names)
    assert heard.index("module on_post_move_to_device") < heard.index("on_fit_start")
    assert heard.count("module on_train_dataloader") == 1


def test_loaders_are_announced_before_they_are_asked_for() -> None:
    heard: list[str] = []

    class Old(Model):
        def on_val_dataloader(self) -> None:
            heard.append("on_val_dataloader")

        def on_test_dataloader(self) -> None:
            heard.append("on_test_dataloader")

        def val_dataloader(self) -> Any:
            heard.append("val_dataloader")
            return loader(1)

        def test_dataloader(self) -> Any:
            heard.append("test_dataloader")
            return loader(1)

    model, trainer = Old(), Trainer(**QUIET)
    trainer.fit(model, loader(1))
    trainer.test(model, verbose=False)
    assert heard == ["on_val_dataloader", "val_dataloader", "on_test_dataloader", "test_dataloader"]


def test_callbacks_with_signatures_of_1_2_get_what_they_ask_for() -> None:
    heard: list[Any] = []

    class Watch(Callback):
        def on_train_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            heard.append((batch.sum().item(), batch_idx, dataloader_idx))

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            heard.append((set(outputs), batch.sum().item(), batch_idx, dataloader_idx))

    class Old(Model):
        def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            heard.append((batch_idx, dataloader_idx))

        def on_train_batch_end(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:  # of 0.9
            heard.append((batch.sum().item(), batch_idx, dataloader_idx))

        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            return batch.to(device) + 1

        def setup(self) -> None:  # type: ignore[override]
            heard.append("setup")

    Trainer(**QUIET, callbacks=[Watch()]).fit(Old(), loader(1), loader(1))
    outputs = {"loss", "index", "seen"}
    assert heard == ["setup", (3.0, 0, 0), (0, 0), (outputs, 3.0, 0, 0), (3.0, 0, 0)]


class Stateful(Callback):
    def __init__(self) -> None:
        self.count = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.count += 1


class Of15(Stateful):
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> Any:
        return {"count": self.count}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, callback_state: Any) -> None:
        self.count = callback_state["count"]


class Of11(Stateful):
    def on_save_checkpoint(self, trainer: Any, pl_module: Any) -> Any:
        return {"count": self.count}

    def on_load_checkpoint(self, checkpointed_state: Any) -> None:
        self.count = checkpointed_state["count"]


@pytest.mark.parametrize("kind", [Of15, Of11])
def test_a_callbacks_state_goes_the_old_way(kind: Any, tmp_path: Any) -> None:
    trainer = Trainer(**QUIET, callbacks=[kind()])
    trainer.fit(Model(), loader(3), loader(1))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = kind()
    Trainer(**{**QUIET, "max_epochs": 2}, callbacks=[again]).fit(
        Model(), loader(3), loader(1), ckpt_path=tmp_path / "a.ckpt"
    )
    assert again.count == 6


def test_a_callback_hears_of_ctrl_c_by_name() -> None:
    heard: list[str] = []

    class Watch(Callback):
        def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
            heard.append("on_keyboard_interrupt")

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            heard.append(type(exception).__name__)

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(**QUIET, callbacks=[Watch()]).fit(Model(), loader(1), loader(1))
    assert heard == ["on_keyboard_interrupt", "KeyboardInterrupt"]


def test_callbacks_hear_of_the_making_of_the_trainer() -> None:
    heard: list[Any] = []

    class Watch(Callback):
        def on_init_start(self, trainer: Any) -> None:
            heard.append(("start", hasattr(trainer, "settings")))

        def on_init_end(self, trainer: Any) -> None:
            heard.append(("end", trainer.max_epochs))

    Trainer(**QUIET, callbacks=[Watch()])
    Trainer(**QUIET, callbacks=Watch())
    assert heard == [("start", False), ("end", 1)] * 2


def test_super_of_an_old_hook_does_nothing() -> None:
    class Old(Model):
        def on_epoch_end(self) -> None:
            super().on_epoch_end()  # type: ignore[misc]

        def validation_epoch_end(self, outputs: Any) -> None:
            super().validation_epoch_end(outputs)  # type: ignore[misc]

    class OwnCheckpoint(ModelCheckpoint):
        def on_pretrain_routine_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_pretrain_routine_start(trainer, pl_module)  # type: ignore[misc]

        def on_init_end(self, trainer: Any) -> None:
            super().on_init_end(trainer)  # type: ignore[misc]

    Trainer(**{**QUIET, "enable_checkpointing": True}, callbacks=[OwnCheckpoint()]).fit(Old(), loader(1), loader(1))


def test_layers_with_names_of_1_x_stay_layers() -> None:
    from fulmen.compat import v1

    class Modern(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.on_epoch_end = torch.nn.Linear(1, 1)
            self.register_buffer("training_epoch_end", torch.ones(1))

    v1.speak()
    model = Modern()
    assert isinstance(model.on_epoch_end, torch.nn.Linear)
    assert torch.equal(model.training_epoch_end, torch.ones(1))  # type: ignore[arg-type]


def test_a_data_module_moves_batches_the_old_way() -> None:
    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(torch.zeros(2, 2))

        def val_dataloader(self) -> Any:
            return DataLoader(torch.zeros(2, 2))

        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            return batch.to(device) + 1

    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            self.heard.extend(one["seen"].item() for one in outputs)

    model = Old()
    Trainer(**QUIET).fit(model, datamodule=Data())
    assert model.heard == [2.0, 2.0]


def test_what_the_user_calls_himself_is_called_once() -> None:
    heard: list[str] = []

    class Modern(Model):
        def on_epoch_end(self) -> None:
            heard.append("epoch")

        def training_epoch_end(self) -> None:
            heard.append("train")

        def validation_epoch_end(self) -> None:
            heard.append("validation")

        def on_train_epoch_end(self) -> None:
            self.on_epoch_end()
            self.training_epoch_end()

        def on_validation_epoch_end(self) -> None:
            self.validation_epoch_end()

    Trainer(**QUIET, num_sanity_val_steps=0).fit(Modern(), loader(1), loader(1))
    assert heard == ["validation", "epoch", "train"]


def test_a_step_end_that_gives_nothing_leaves_the_output() -> None:
    seen: list[Any] = []

    class Old(Model):
        def training_step_end(self, output: Any) -> None:
            seen.append(output)

    trainer = Trainer(**QUIET)
    trainer.fit(Old(), loader(2), loader(1))
    assert len(seen) == 2
    assert trainer.global_step == 2


def test_an_event_comes_also_where_the_hook_of_today_gets_outputs() -> None:
    heard: list[str] = []

    class Watch(Callback):
        def on_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback")

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:  # type: ignore[override]
            heard.append(f"callback {len(outputs)}")

        def on_batch_end(self, trainer: Any, pl_module: Any) -> None:
            heard.append("callback batch")

    class Old(Model):
        def training_epoch_end(self, outputs: Any) -> None:
            heard.append("training_epoch_end")

        def on_train_epoch_end(self, outputs: Any) -> None:  # type: ignore[override]
            heard.append(f"module {len(outputs)}")

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:  # type: ignore[override]
            heard.append("module batch")

        def on_epoch_end(self) -> None:
            heard.append("module")

    Trainer(**QUIET, num_sanity_val_steps=0, limit_val_batches=0, callbacks=[Watch()]).fit(Old(), loader(1), loader(1))
    assert heard == [
        "module batch", "callback batch", "training_epoch_end", "callback 1", "module 1", "callback", "module",
    ]  # fmt: skip


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_an_event_comes_also_at_the_end_of_an_evaluation_that_gets_outputs(stage: str) -> None:
    heard: list[str] = []

    def end(self: Any, outputs: Any) -> None:
        heard.append(f"{len(outputs)}")

    body = {**noting(heard, "", f"{stage}_epoch_end", "on_epoch_end"), f"on_{stage}_epoch_end": end}
    model = type("Old", (Model,), body)()
    trainer = Trainer(**QUIET)
    (trainer.validate if stage == "validation" else trainer.test)(model, loader(2), verbose=False)
    assert heard == [f"{stage}_epoch_end", "2", "on_epoch_end"]


def test_a_method_that_cannot_take_what_1_x_passed_is_the_users_own() -> None:
    heard: list[str] = []

    class Own(Model):
        def on_epoch_end(self, value: Any) -> None:
            heard.append("on_epoch_end")

        def on_batch_start(self, z: Any) -> None:
            heard.append("on_batch_start")

        def validation_step_end(self, a: Any, b: Any) -> None:
            heard.append("validation_step_end")

        def training_epoch_end(self) -> None:
            heard.append("training_epoch_end")

    class Watch(Callback):
        def on_init_start(self) -> None:
            heard.append("on_init_start")

        def on_init_end(self) -> None:
            heard.append("on_init_end")

        def on_batch_end(self, trainer: Any) -> None:
            heard.append("on_batch_end")

        def on_epoch_start(self) -> None:
            heard.append("on_epoch_start")

    Trainer(**QUIET, callbacks=[Watch()]).fit(Own(), loader(1), loader(1))
    assert heard == []


def test_what_the_user_calls_by_way_of_another_method_is_called_once() -> None:
    heard: list[str] = []

    class Base(Model):
        def on_train_epoch_end(self) -> None:
            self.finish()

        def finish(self) -> None:
            self.on_epoch_end()

        def on_epoch_end(self) -> None:
            heard.append("epoch")

    class Modern(Base):
        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()

    Trainer(**QUIET).fit(Modern(), loader(1), loader(1))
    assert heard == ["epoch"]
