"""Several processes that go on from any step: each of them, bit by bit, as if nothing had happened."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from tests.conftest import SOAK
from tests.resume.course import Record, check_every_point, seed
from tests.resume.test_every_step import nothing_else, sampled
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import fulmen as pl

from .groups import run

QUIET = {
    "accelerator": "cpu", "strategy": "ddp", "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "log_every_n_steps": 1,
}  # fmt: skip


class Noisy(Dataset[Any]):
    """Samples that are never twice the same."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Any:
        return torch.full((3,), float(index)) + torch.rand(3), index


class Model(pl.LightningModule):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Dropout(0.4), nn.Linear(4, 1))
        self.average = torchmetrics.MeanMetric()
        self.record = record

    def step(self, batch: Any, stage: str) -> Tensor:
        inputs, numbers = batch
        if not self.trainer.sanity_checking:
            self.record.samples.append((stage, numbers.tolist()))
        loss: Tensor = self.net(inputs).pow(2).mean()
        self.log(f"{stage}_loss", loss, on_step=True, on_epoch=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.step(batch, "train")
        self.average.update(loss)
        self.log("average", self.average, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def fit(
    world: int, workers: int, custom: bool, record: Record, callbacks: Any, ckpt_path: Any, number: int
) -> pl.Trainer:
    rank = int(os.environ["LOCAL_RANK"])
    if rank:
        callbacks[0].state_dict = dict  # what callbacks keep is rank 0's
    torch.manual_seed(3 if ckpt_path is None else 4)
    model = Model(record)
    seed(number + 10 * rank)  # each process has random numbers of its own
    data = Noisy()
    sampler = WeightedRandomSampler([1.0 + i for i in range(16)], 16) if custom else None
    loader = DataLoader(data, 2, shuffle=not custom, sampler=sampler, num_workers=workers)
    trainer = pl.Trainer(
        max_epochs=2, devices=world, callbacks=callbacks, logger=record.logger if rank == 0 else False,
        accumulate_grad_batches=3, val_check_interval=2, limit_val_batches=world, num_sanity_val_steps=1, **QUIET,
    )  # fmt: skip
    trainer.fit(model, loader, DataLoader(data, 2), ckpt_path=ckpt_path)
    return trainer


def on_each_rank(folder: Path, world: int, workers: int, custom: bool, count: int) -> list[str]:
    warnings.filterwarnings("ignore", ".*(states of callbacks|does not have many workers|shuffles its samples).*")
    return check_every_point(partial(fit, world, workers, custom), folder, sampled(count), nothing_else)


@pytest.mark.parametrize(
    ("world", "workers", "custom"),
    [
        (3, 0, False),
        pytest.param(2, 0, False, marks=pytest.mark.skipif(not SOAK, reason="soak")),
        pytest.param(2, 2, True, marks=pytest.mark.skipif(not SOAK, reason="soak")),
    ],
)
def test_every_rank_goes_on_from_every_point(tmp_path: Path, world: int, workers: int, custom: bool) -> None:
    tried = run(on_each_rank, world, tmp_path, world, workers, custom, 1000 if SOAK else 5, timeout=300 if SOAK else 60)
    assert set(tried[0]) == {"batch", "inside", "validation", "epoch"}
