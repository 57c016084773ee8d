"""Small runs for the tests of callbacks that change weights."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


def data(count: int = 12, batch_size: int = 4) -> DataLoader[Any]:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size)


class Net(pl.LightningModule):
    """A backbone and a head; notes the weights that each stage sees."""

    def __init__(self, norm: bool = False, schedule: Any = None) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5) if norm else nn.Identity(), nn.Tanh())
        self.head = nn.Linear(5, 1)
        self.schedule = schedule
        self.steps: list[Tensor] = []
        self.seen: dict[str, list[Tensor]] = {"validate": [], "test": []}
        self.rates: list[list[float]] = []
        self.start = self.now()
        self.lock = threading.Lock()  # like much that users keep, it cannot be copied

    def now(self) -> Tensor:
        """All weights."""
        return torch.cat([p.detach().flatten().double() for p in self.parameters()])

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.mse_loss(self.head(self.backbone(batch[0])), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(self.now())
        self.rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))
        self.seen["validate"].append(self.now())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["test"].append(self.now())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)
        return optimizer if self.schedule is None else ([optimizer], [self.schedule(optimizer)])


def fit(callback: Any, model: Net | None = None, ckpt_path: Any = None, **flags: Any) -> tuple[pl.Trainer, Net]:
    torch.manual_seed(0)
    model = Net() if model is None else model
    callbacks = [callback, *flags.pop("more", [])]
    if "enable_checkpointing" not in flags and isinstance(callback, pl.callbacks.Checkpoint):
        flags["enable_checkpointing"] = True
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 2, "callbacks": callbacks, **flags})
    trainer.fit(model, data(), data(4), ckpt_path=ckpt_path)
    return trainer, model
