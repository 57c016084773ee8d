"""Metrics of 1.x in a run: logged as objects, reset between epochs, and in a checkpoint with what they counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import Callback
from fulmen.compat.v1 import metrics as pl_metrics

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    "accelerator": "cpu", "limit_val_batches": 0,
}  # fmt: skip


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 4)
        self.accuracy = pl_metrics.Accuracy()
        self.right: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        scores = self.layer(x)
        preds = scores.argmax(1)
        self.right += (preds == y).tolist()
        self.accuracy(preds, y)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        return torch.nn.functional.cross_entropy(scores, y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def data() -> DataLoader[Any]:
    x = torch.randn(24, 2, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, torch.arange(24) // 6), batch_size=3)  # classes turn up one after the other


def test_an_epochs_value_is_that_of_its_samples_also_after_a_resume() -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1 and batch_idx == 3:
                trainer.save_checkpoint("middle.ckpt")

    torch.manual_seed(0)
    model, trainer = Model(), Trainer(**QUIET, max_epochs=2, callbacks=[Save()])
    trainer.fit(model, data())
    assert trainer.callback_metrics["accuracy"].item() == pytest.approx(sum(model.right[24:]) / 24)
    again, other = Model(), Trainer(**QUIET, max_epochs=2)
    other.fit(again, data(), ckpt_path="middle.ckpt")
    assert len(again.right) == 12
    assert torch.equal(other.callback_metrics["accuracy"], trainer.callback_metrics["accuracy"])


def test_the_sanity_check_leaves_no_trace() -> None:
    class Validating(Model):
        def __init__(self) -> None:
            super().__init__()
            self.val_accuracy = pl_metrics.Accuracy()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.val_accuracy(self.layer(x), y)
            self.log("val", self.val_accuracy)

    model = Validating()
    trainer = Trainer(**{**QUIET, "limit_val_batches": 1.0}, max_epochs=1, num_sanity_val_steps=2)
    trainer.fit(model, data(), data())
    with torch.no_grad():
        right = [(model.layer(x).argmax(1) == y).float().mean() for x, y in data()]
    assert trainer.callback_metrics["val"].item() == pytest.approx(torch.stack(right).mean().item())
