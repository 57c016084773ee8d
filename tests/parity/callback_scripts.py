"""What the scripts of the callbacks' parity tests have in common: a model, its data, a logger that remembers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.utils.data import DataLoader

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def part(pl: ModuleType, path: str) -> Any:
    """A module of the framework under test by its path below the package."""
    return importlib.import_module(f"{pl.__name__}.{path}")


def memory_logger(pl: ModuleType) -> Any:
    """A logger that keeps in ``rows`` what it is given."""

    class Memory(part(pl, "loggers.logger").Logger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int | None, dict[str, Any]]] = []

        @property
        def name(self) -> str:
            return "memory"

        @property
        def version(self) -> int:
            return 0

        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            self.rows.append((step, dict(metrics)))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    return Memory()


def model(pl: ModuleType, losses: Callable[[int], float] | None = None, **members: Any) -> Any:
    """A model whose loss is given by the number of the batch in the run, or is that of a linear layer."""

    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.count = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch).mean()
            if losses is not None:
                loss = loss * 0 + losses(self.count)
            self.count += 1
            return loss

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch).mean()

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch).mean()

        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return type("Model", (Model,), members)()


def batches(count: int, size: int = 2) -> DataLoader[Any]:
    """So many batches of ones."""
    return DataLoader(torch.ones(count * size, 1), batch_size=size)
