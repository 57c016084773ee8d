"""The count of samples that a logger has as its x axis goes on from every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.conftest import SOAK
from tests.resume.course import Record, check_every_point, seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val", self.layer(batch[0]).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
    seed(number)
    record.logger.x_axis = "samples"
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=callbacks, logger=record.logger, log_every_n_steps=1,
        val_check_interval=2, num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accumulate_grad_batches=2,
    )  # fmt: skip
    data = TensorDataset(torch.arange(52.0).reshape(13, 4) / 52)
    trainer.fit(Model(), DataLoader(data, 3, shuffle=True), DataLoader(data, 5), ckpt_path=path)
    return trainer


def test_samples_are_counted_on_from_every_point(tmp_path: Path) -> None:
    whole = Record()
    _fit(whole, [], None, 7)
    places = [step for step, values in whole.logger.values if "loss_step" in values]
    assert places == [6, 12, 13, 19, 25, 26], "the last window of an epoch has a batch of one sample"
    tried = check_every_point(
        _fit, tmp_path, list if SOAK else lambda points: points[::3], lambda record, whole, point: None
    )
    assert {"batch", "inside"} <= set(tried)
