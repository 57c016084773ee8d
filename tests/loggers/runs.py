"""A small module and a run of it, for loggers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fulmen.callbacks.callback import Callback
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
    "max_epochs": 2,
}


class Net(LightningModule):
    def __init__(self, lr: float = 0.1, notes: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.hparams["lr"])


class At(Callback):
    """Does something after a batch."""

    def __init__(self, batch: int, action: Callable[[Trainer], Any]) -> None:
        self.batch = batch
        self.action = action

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.batch:
            self.action(trainer)


def fit(logger: Any, callbacks: Sequence[Callback] = (), module: Net | None = None, **flags: Any) -> Net:
    """Six steps, or as many as the flags say."""
    torch.manual_seed(0)
    net = Net() if module is None else module
    data = torch.arange(24, dtype=torch.float32).reshape(6, 4) / 24
    trainer = Trainer(**{**QUIET, **flags}, logger=logger, callbacks=list(callbacks))
    torch.manual_seed(1)
    trainer.fit(net, DataLoader(data, batch_size=2, shuffle=True))
    return net


def weights(net: Net) -> list[float]:
    found: list[float] = net.layer.weight.detach().flatten().tolist()
    return found
