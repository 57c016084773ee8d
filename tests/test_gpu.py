"""What only a device can show: batches come ahead of time, and no step waits for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning"),
]


class Model(pl.LightningModule):
    def __init__(self, on_epoch: bool = False) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        self.on_epoch = on_epoch
        self.devices: set[str] = set()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        self.devices.add(x.device.type)
        loss = torch.nn.functional.cross_entropy(self.net(x), y)
        self.log("loss", loss, on_epoch=self.on_epoch)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class NoWaiting(pl.Callback):
    """Lets torch raise on every synchronisation, from the second batch on to the one before the last."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            torch.cuda.set_sync_debug_mode("error")
        if batch_idx >= trainer.num_training_batches - 2:
            torch.cuda.set_sync_debug_mode("default")


def _data(batches: int = 200) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batches * 4, 8, generator=generator)
    return DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), batch_size=4)


@pytest.mark.parametrize("on_epoch", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_waits_for_the_device(on_epoch: bool, clip: float | None, precision: str, tmp_path: Path) -> None:
    model = Model(on_epoch)
    trainer = pl.Trainer(
        accelerator="cuda", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=clip, precision=precision,
        callbacks=NoWaiting(), default_root_dir=tmp_path,
    )  # fmt: skip
    try:
        trainer.fit(model, _data())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert model.devices == {"cuda"}


@pytest.mark.parametrize("fast", [True, False])
def test_batches_that_come_ahead_are_the_same(fast: bool, tmp_path: Path) -> None:
    seen: dict[str, list[Tensor]] = {}
    for accelerator in ("cpu", "cuda"):

        class Noting(Model):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                seen[self.device.type].append(batch[0].cpu())
                return super().training_step(batch, batch_idx)

        seen[accelerator] = []
        torch.manual_seed(0)
        pl.Trainer(
            accelerator=accelerator, devices=1, max_epochs=2, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, fast_data=fast, default_root_dir=tmp_path,
        ).fit(Noting(), _data(20))  # fmt: skip
    assert len(seen["cpu"]) == 40
    assert all(torch.equal(a, b) for a, b in zip(seen["cpu"], seen["cuda"], strict=True))


def test_half_precision_with_a_scaler_learns_and_resumes(tmp_path: Path) -> None:
    model = Model()
    trainer = pl.Trainer(
        accelerator="cuda", devices=1, max_epochs=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, precision="16-mixed", gradient_clip_val=1.0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, _data())
    assert trainer.scaler is not None
    path = tmp_path / "end.ckpt"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=True)["MixedPrecision"]["scale"] > 0
    assert next(model.parameters()).device.type == "cpu"


def test_predictions_that_are_kept_leave_the_device(tmp_path: Path) -> None:
    class Predicting(Model):
        def predict_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:
            return {"scores": self.net(batch[0])}

    trainer = pl.Trainer(
        accelerator="cuda", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    predictions = trainer.predict(Predicting(), _data(4))
    assert predictions is not None
    assert {one["scores"].device.type for one in predictions} == {"cpu"}
