from __future__ import annotations

import torch
from torch import nn

from fulmen.precision.double import DoublePrecision


def test_everything_real_is_double():
    precision = DoublePrecision()
    module = precision.convert_module(nn.Linear(2, 2))
    batch = precision.convert_input({"x": torch.ones(3, 2), "h": torch.ones(3).half(), "y": torch.arange(3)})
    assert [part.dtype for part in batch.values()] == [torch.double, torch.double, torch.long]
    with precision.train_step_context():
        assert module(batch["x"]).dtype == torch.zeros(1).dtype == torch.double
    for context in (precision.module_init_context(), precision.tensor_init_context()):
        with context:
            assert nn.Linear(1, 1).weight.dtype == torch.double
    assert precision.precision == "64-true"
