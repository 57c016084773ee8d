from __future__ import annotations

import pytest
import torch
from torch import nn

from fulmen.precision.half import HalfPrecision
from fulmen.utilities.exceptions import MisconfigurationException


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("count", torch.zeros(1, dtype=torch.long))
        self.register_buffer("phase", torch.zeros(1, dtype=torch.complex64))


@pytest.mark.parametrize("name, dtype", [("16-true", torch.float16), ("bf16-true", torch.bfloat16)])
def test_everything_real_is_half(name, dtype):
    precision = HalfPrecision(name)
    module = precision.convert_module(Mixture())
    assert (module.linear.weight.dtype, module.count.dtype, module.phase.dtype) == (dtype, torch.long, torch.complex64)
    batch = precision.convert_input([torch.ones(3, 2), torch.ones(3, dtype=torch.double), torch.arange(3)])
    assert [part.dtype for part in batch] == [dtype, dtype, torch.long]
    with precision.train_step_context():
        assert module.linear(batch[0]).dtype == torch.zeros(1).dtype == torch.tensor(1.5).dtype == dtype
    for context in (precision.module_init_context(), precision.tensor_init_context()):
        with context:
            assert nn.Linear(1, 1).weight.dtype == dtype
    assert precision.convert_output(batch) is batch


def test_another_name_is_an_error():
    with pytest.raises(MisconfigurationException, match=r'`HalfPrecision\("bf16-true"\)`'):
        HalfPrecision("bf16")
