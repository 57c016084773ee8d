"""A module that can be served, and runs of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fulmen.demos.boring_classes import BoringModel
from fulmen.serve.servable_module import ServableModule
from fulmen.serve.servable_module_validator import ServableModuleValidator
from fulmen.trainer.trainer import Trainer


class Served(ServableModule, BoringModel):
    """Doubles what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout()

    def configure_payload(self) -> dict[str, Any]:
        return {"body": {"x": [1.0, 2.0]}}

    def configure_serialization(self) -> Any:
        return {"x": torch.tensor}, {"output": Tensor.tolist}

    def serve_step(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"output": self.dropout(2 * x)}

    def configure_response(self) -> dict[str, Any]:
        return {"output": [2.0, 4.0]}


def fit(module: Any, *callbacks: ServableModuleValidator) -> None:
    torch.manual_seed(0)
    Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=list(callbacks),
    ).fit(module, DataLoader(torch.randn(4, 32), shuffle=True))
