"""What the tests of ``docs/differences.md`` share: a small model, a quiet Trainer, and one script run by both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from .scenarios import QUIET, quiet

T = TypeVar("T")


def both(lightning: ModuleType, fulmen: ModuleType, script: Callable[[Any], T]) -> tuple[T, T]:
    """What ``script`` returns under Lightning and under Fulmen, from the same random state."""
    found = []
    for pl in (lightning, fulmen):
        torch.manual_seed(0)
        with quiet():
            found.append(script(pl))
    return found[0], found[1]


def model(pl: Any, **changes: Any) -> Any:
    """A linear model on two features whose methods are replaced or extended by ``changes``."""

    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.layer(batch).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return type("Model", (Model,), changes)()


def trainer(pl: Any, **flags: Any) -> Any:
    """A Trainer for one epoch that writes nothing but what a test asks for."""
    flags.setdefault("enable_checkpointing", any(_saves(callback) for callback in flags.get("callbacks", ())))
    return pl.Trainer(**{**QUIET, "max_epochs": 1, "num_sanity_val_steps": 0, **flags})


def _saves(callback: Any) -> bool:
    return type(callback).__name__ == "ModelCheckpoint"


def loader(data: Any, **options: Any) -> Any:
    """A ``DataLoader`` over anything that has items, in batches of two unless told otherwise."""
    return DataLoader(data, **{"batch_size": 2, **options})


def batches(count: int, size: int = 2) -> Any:
    """A loader of ``count`` batches of ``size`` rows each; see :func:`rows`."""
    return loader(rows(count * size), batch_size=size)


def rows(count: int) -> torch.Tensor:
    """``count`` rows of two equal numbers, counted from 0."""
    return torch.arange(float(count)).repeat(2, 1).T.contiguous()


def steps_in(folder: Path) -> dict[str, int]:
    """The ``global_step`` at which each checkpoint of a folder was saved."""
    files = sorted(folder.glob("*.ckpt"))
    return {file.stem: torch.load(file, weights_only=False)["global_step"] for file in files}


class Recording:
    """A list of rows; ``logger(pl)`` makes a logger that fills it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def logger(self, pl: Any) -> Any:
        """A logger that keeps every row, without the epoch."""
        rows = self.rows

        class Keeping(pl.loggers.Logger):
            name = "keeping"
            version = 0

            def log_metrics(self, metrics: Any, step: int | None = None) -> None:
                rows.append({key: value for key, value in metrics.items() if key != "epoch"})

            def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        return Keeping()
