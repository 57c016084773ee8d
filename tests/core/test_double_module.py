from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.core.double_module import LightningDoublePrecisionModule
from fulmen.core.module import LightningModule


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert batch[1].dtype == torch.int64
        return self(batch[0])

    validation_step = test_step = predict_step = training_step


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step", "predict_step", "forward"])
def test_batches_are_double(step: str) -> None:
    with pytest.warns(DeprecationWarning, match="64-true"):
        wrapped = LightningDoublePrecisionModule(Module().double())
    x = torch.zeros(1, 2)
    found = wrapped(x) if step == "forward" else getattr(wrapped, step)([x, torch.zeros(1, dtype=torch.int64)], 0)
    assert found.dtype == wrapped.dtype == torch.float64
    assert wrapped.device.type == "cpu" and torch.get_default_dtype() == torch.float32
