"""Training on several processes: the same weights everywhere, and those of DDP by hand."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from fulmen import LightningModule, Trainer

from .groups import run


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()

    def loss(self, batch: list[Tensor]) -> Tensor:
        loss: Tensor = (self.layers(batch[0]) - batch[1]).pow(2).mean()
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def data(count: int) -> TensorDataset:
    drawn = torch.Generator().manual_seed(5)
    return TensorDataset(*(torch.randn(count, width, dtype=torch.float64, generator=drawn) for width in (4, 1)))


def trained(accumulate: int, count: int, **flags: Any) -> list[list[float]]:
    world = int(os.environ["WORLD_SIZE"])
    net = Net()
    trainer = Trainer(
        accelerator="cpu", devices=world, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=accumulate, **flags,
    )  # fmt: skip
    trainer.fit(net, DataLoader(data(count), batch_size=2, shuffle=True))
    return [parameter.flatten().tolist() for parameter in net.parameters()]


def by_hand(accumulate: int, count: int) -> list[list[float]]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = Net()
    ddp = DistributedDataParallel(net.layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    dataset = data(count)
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, world, rank, shuffle=True)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for index, (x, y) in enumerate(loader):
            closes = (index + 1) % accumulate == 0
            ddp.require_backward_grad_sync = closes
            ((ddp(x) - y).pow(2).mean() / accumulate).backward()
            if closes:
                optimizer.step()
                optimizer.zero_grad()
    return [parameter.flatten().tolist() for parameter in net.parameters()]


def both(accumulate: int, count: int) -> Any:
    return trained(accumulate, count), by_hand(accumulate, count)


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (2, 2), (3, 1)])
def test_weights_are_those_of_ddp_by_hand(world: int, accumulate: int) -> None:
    results = run(both, world, accumulate, 8 * world)
    for ours, theirs in results:
        assert ours == theirs == results[0][0]
