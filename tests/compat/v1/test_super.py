"""What a user's class calls on ``super()`` in old form, and overrides that hand on whatever they get."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.compat.v1.test_outputs import QUIET, Model, loader
from torch.utils.data import DataLoader

from fulmen import LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import Callback
from fulmen.compat import v1
from fulmen.core.module import overridden

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


def test_hooks_of_the_base_class_take_what_1_x_passed() -> None:
    heard: list[Any] = []

    class Old(Model):
        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            return super().transfer_batch_to_device(batch, device)  # type: ignore[call-arg]

        def on_before_batch_transfer(self, batch: Any) -> Any:
            return super().on_before_batch_transfer(batch)  # type: ignore[call-arg]

        def on_after_batch_transfer(self, batch: Any) -> Any:
            return super().on_after_batch_transfer(batch)  # type: ignore[call-arg]

        def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            return super().on_train_batch_start(batch, batch_idx, dataloader_idx)  # type: ignore[call-arg]

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            super().on_train_batch_end(outputs, batch, batch_idx, dataloader_idx)  # type: ignore[call-arg]

        def on_train_epoch_end(self, outputs: Any) -> None:  # type: ignore[override]
            super().on_train_epoch_end(outputs)  # type: ignore[call-arg]

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            super().on_before_optimizer_step(optimizer, optimizer_idx)  # type: ignore[call-arg]

        def on_predict_epoch_end(self, results: Any) -> None:  # type: ignore[override]
            super().on_predict_epoch_end(results)  # type: ignore[call-arg]
            heard.append(len(results))

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, i: int, dataloader_idx: int) -> Any:
            return super().on_train_batch_start(trainer, pl_module, batch, i, dataloader_idx)  # type: ignore[call-arg]

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)  # type: ignore[call-arg]

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:  # type: ignore[override]
            super().on_train_epoch_end(trainer, pl_module, outputs)  # type: ignore[call-arg]
            heard.append(len(outputs))

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any, opt_idx: int) -> None:
            super().on_before_optimizer_step(trainer, pl_module, optimizer, opt_idx)  # type: ignore[call-arg]

    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(2)

        val_dataloader = predict_dataloader = train_dataloader

        def transfer_batch_to_device(self, batch: Any, device: Any) -> Any:
            return super().transfer_batch_to_device(batch, device)  # type: ignore[call-arg]

    trainer = Trainer(**QUIET, callbacks=[Watch()])
    trainer.fit(Old(), loader(2), loader(1))
    Trainer(**QUIET).fit(Model(), datamodule=Data())
    old = Old()
    old.forward = lambda batch: batch  # type: ignore[assignment]
    trainer.predict(old, DataLoader(torch.zeros(2, 2)))
    assert heard == [2, 1]


def test_such_hooks_are_no_overrides() -> None:
    from fulmen.core.hooks import DataHooks, ModelHooks

    v1.speak()
    model, callback, data = LightningModule(), Callback(), LightningDataModule()
    for name in ("on_train_batch_end", "on_train_epoch_end", "on_before_optimizer_step", "on_predict_epoch_end"):
        assert overridden(model, name, ModelHooks) is None
        assert overridden(callback, name, Callback) is None
    for name in ("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer"):
        assert overridden(model, name, DataHooks) is overridden(data, name, DataHooks) is None


def test_an_override_that_hands_on_gets_what_the_users_base_takes() -> None:
    heard: list[Any] = []

    class Base(Model):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            heard.append((set(outputs), batch_idx, dataloader_idx))

        def on_train_epoch_end(self, outputs: Any) -> None:  # type: ignore[override]
            heard.append(len(outputs))

        def optimizer_step(  # type: ignore[override]
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any
        ) -> None:
            heard.append(optimizer_idx)
            optimizer.step(closure=optimizer_closure)

    class ByPlace(Base):
        def on_train_batch_end(self, *a: Any) -> None:
            super().on_train_batch_end(*a)

        def on_train_epoch_end(self, *a: Any) -> None:
            super().on_train_epoch_end(*a)

        def optimizer_step(self, *a: Any) -> None:  # type: ignore[override]
            super().optimizer_step(*a)

    class Anyhow(ByPlace):
        def on_train_batch_end(self, *a: Any, **k: Any) -> None:
            super().on_train_batch_end(*a, **k)

        def optimizer_step(self, *a: Any, **k: Any) -> None:  # type: ignore[override]
            Base.optimizer_step(self, *a, **k)

    for kind in (ByPlace, Anyhow):
        Trainer(**QUIET).fit(kind(), loader(1), loader(1))
        assert heard == [0, ({"loss", "index", "seen"}, 0, 0), 1]
        heard.clear()
