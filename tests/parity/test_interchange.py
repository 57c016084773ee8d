"""Checkpoints cross over: what one framework has saved the other goes on with, to the same end."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .differing import quiet

EPOCHS, BATCHES = 4, 6


def script(pl: Any, kind: str) -> Any:
    """The same model for either framework; it draws nothing at random."""

    class Model(pl.LightningModule):
        def __init__(self, width: int = 6, rates: tuple[float, ...] = (0.01, 0.1), name: str = "net") -> None:
            super().__init__()
            self.save_hyperparameters()
            torch.manual_seed(1)
            self.net = torch.nn.Sequential(
                torch.nn.Linear(5, width), torch.nn.BatchNorm1d(width), torch.nn.Tanh(), torch.nn.Linear(width, 1)
            )
            self.automatic_optimization = kind != "manual"

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = (self.net(batch[0]).squeeze(-1) - batch[1]).square().mean()
            self.log("loss", loss)
            if kind != "manual":
                return loss
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
            return None

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("value", (self.net(batch[0]).squeeze(-1) - batch[1]).abs().mean())

        def configure_optimizers(self) -> Any:
            if kind == "manual":
                first, second = self.net[0].parameters(), [*self.net[1].parameters(), *self.net[3].parameters()]
                return torch.optim.Adam(first, lr=0.01), torch.optim.SGD(second, lr=0.01, momentum=0.9)
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.rates[0])
            schedules = torch.optim.lr_scheduler
            if kind == "steps":
                schedule: Any = schedules.OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * BATCHES)
                return [optimizer], [{"scheduler": schedule, "interval": "step"}]
            if kind == "epochs":
                return [optimizer], [schedules.CosineAnnealingLR(optimizer, EPOCHS)]
            return optimizer

    return Model


def loader() -> Any:
    fixed = torch.Generator().manual_seed(11)
    inputs = torch.randn(BATCHES * 4, 5, generator=fixed)
    return DataLoader(TensorDataset(inputs, inputs.sum(1)), 4)


def fit(pl: Any, kind: str, folder: Path, epochs: int, start: Any = None, **flags: Any) -> Any:
    saving = pl.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1, auto_insert_metric_name=False)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=epochs,
        callbacks=[saving], **flags,
    )  # fmt: skip
    with quiet():
        trainer.fit(script(pl, kind)(), loader(), loader(), ckpt_path=start)
    return trainer


def state(trainer: Any) -> list[Tensor]:
    found = list(trainer.lightning_module.state_dict().values())
    for optimizer in trainer.optimizers:
        found += [value for one in optimizer.state.values() for value in one.values() if isinstance(value, Tensor)]
    return found


@pytest.mark.parametrize("kind", ["plain", "steps", "epochs", "manual"])
@pytest.mark.parametrize("saved", ["epoch end", "after fit"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("direction", ["to us", "from us"])
def test_training_goes_on_in_the_other_framework(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, kind: str, saved: str, accumulate: int, direction: str
) -> None:
    flags = {} if kind == "manual" else {"accumulate_grad_batches": accumulate}
    first, second = (lightning, fulmen) if direction == "to us" else (fulmen, lightning)
    whole = fit(second, kind, tmp_path / "whole", EPOCHS, **flags)
    begun = fit(first, kind, tmp_path / "begun", 2, **flags)
    path = tmp_path / "begun" / "1.ckpt"
    if saved == "after fit":
        path = tmp_path / "end.ckpt"
        begun.save_checkpoint(path)
    again = fit(second, kind, tmp_path / "again", EPOCHS, path, **flags)
    assert (again.current_epoch, again.global_step) == (whole.current_epoch, whole.global_step)
    for one, other in zip(state(again), state(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("direction", ["to us", "from us"])
def test_a_model_is_made_of_the_others_file(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, direction: str
) -> None:
    first, second = (lightning, fulmen) if direction == "to us" else (fulmen, lightning)
    trainer = fit(first, "plain", tmp_path, 1)
    model = script(second, "plain").load_from_checkpoint(tmp_path / "0.ckpt", name="other")
    assert dict(model.hparams) == {"width": 6, "rates": (0.01, 0.1), "name": "other"}
    for one, other in zip(model.state_dict().values(), trainer.lightning_module.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_middle_of_an_epoch_of_lightnings(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, step: int
) -> None:
    """Its file says how many batches were used: in a loader that does not shuffle, these are known."""

    class Save(lightning.Callback):  # type: ignore[name-defined,misc]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == step:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    with quiet():
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, max_epochs=1, callbacks=[Save()],
        )  # fmt: skip
        trainer.fit(script(lightning, "plain")(), loader())
    whole = fit(fulmen, "plain", tmp_path / "whole", 2)
    again = fit(fulmen, "plain", tmp_path / "again", 2, tmp_path / "middle.ckpt")
    assert again.global_step == whole.global_step
    for one, other in zip(state(again), state(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
