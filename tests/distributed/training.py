"""A small model, trained by a `Trainer` and by a loop with DDP written by hand, in the same process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.strategies import DDPStrategy

from .groups import environ, world

BARE: dict[str, Any] = {
    "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False
}  # fmt: skip
BATCH = 2


class Net(LightningModule):
    """Three layers, of which the second may rest."""

    def __init__(self, dtype: torch.dtype = torch.float64, rests: bool = False, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = torch.nn.Linear(4, 8, dtype=dtype), torch.nn.Linear(8, 8, dtype=dtype)
        self.norm = torch.nn.BatchNorm1d(8, dtype=dtype) if norm else torch.nn.Identity()
        self.last = torch.nn.Linear(8, 1, dtype=dtype)
        self.rests = rests
        self.made: Callable[[Any], Any] = lambda parameters: torch.optim.Adam(parameters, lr=0.01)
        self.scheduler: Callable[[Any], Any] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.norm(self.first(inputs)))
        # which rests depends on what comes, and so on the process
        if not (self.rests and bool(inputs.sum() > 0)):
            hidden = torch.tanh(self.second(hidden))
        result: Tensor = self.last(hidden)
        return result

    def loss(self, batch: list[Tensor]) -> Tensor:
        return (self(batch[0]) - batch[1]).pow(2).mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        optimizer = self.made(self.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}


def data(count: int, dtype: torch.dtype = torch.float64) -> TensorDataset:
    drawn = torch.Generator().manual_seed(5)
    return TensorDataset(*(torch.randn(count, width, dtype=dtype, generator=drawn) for width in (4, 1)))


def weights(net: LightningModule) -> list[Any]:
    return [value.flatten().tolist() for value in net.state_dict().values()]


def fit(net: LightningModule, dataset: TensorDataset, strategy: Any = None, shuffle: bool = True, **flags: Any) -> Any:
    """Trains for two epochs on as many processes as there are; returns the weights."""
    environ()
    settings: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 2, **BARE, **flags}
    trainer = Trainer(devices=world(), strategy=DDPStrategy() if strategy is None else strategy, **settings)
    trainer.fit(net, DataLoader(dataset, batch_size=BATCH, shuffle=shuffle))
    return weights(net)


def by_hand(
    net: Net,
    dataset: TensorDataset,
    accumulate: int = 1,
    clip: Callable[[Any], Any] | None = None,
    prepare: Callable[[DistributedDataParallel], Any] = lambda ddp: None,
    stepped: Callable[[], Any] = lambda: None,
    autocast: torch.dtype | None = None,
    each_epoch: Callable[[int], Any] = lambda epoch: None,
    **options: Any,
) -> list[Any]:
    """The same as PyTorch's tutorials write it. The group is there: `fit` leaves it."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    ddp = DistributedDataParallel(net, **options)
    prepare(ddp)
    optimizer = net.made(net.parameters())
    scheduler = None if net.scheduler is None else net.scheduler(optimizer)
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, world, rank, shuffle=True)
    loader = DataLoader(dataset, batch_size=BATCH, sampler=sampler)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        each_epoch(epoch)
        for index, (x, y) in enumerate(loader):
            closes = (index + 1) % accumulate == 0
            ddp.require_backward_grad_sync = closes
            with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
                loss = (ddp(x) - y).pow(2).mean()
            (loss / accumulate).backward()
            if closes:
                if clip is not None:
                    clip(net.parameters())
                optimizer.step()
                stepped()
                optimizer.zero_grad()
                if scheduler is not None:
                    scheduler.step()
    return weights(net)
