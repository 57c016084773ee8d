from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fulmen import LightningModule
from fulmen.precision.half import HalfPrecision
from fulmen.utilities.model_summary.example_forward import forward_example

from .models import Nested, Noisy


def test_it_leaves_no_trace() -> None:
    model = Noisy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    buffers = dict(model.named_buffers())
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(3), random.random()
    torch.manual_seed(1)
    random.seed(1)
    forward_example(model)
    assert model.modes == [False], "it must run once, in evaluation mode and without gradients"
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())


def test_an_error_leaves_no_trace_either() -> None:
    class Failing(Noisy):
        def forward(self, x: Tensor) -> Any:
            super().forward(x)
            raise ArithmeticError

    model = Failing()
    with pytest.raises(ArithmeticError):
        forward_example(model)
    assert model.training
    assert torch.equal(model.calls, torch.zeros(1))


def test_the_example_goes_the_way_of_a_batch() -> None:
    class Transferring(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.seen: list[Any] = []
            self.example_input_array = torch.zeros(2, 3)

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch + 1

        def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
            assert device == self.device
            return batch * 10

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch + 5

        def forward(self, x: Tensor) -> Any:
            self.seen.append(x)
            return self.layer(x)

    model = Transferring()
    forward_example(model)
    assert torch.equal(model.seen[0], torch.full((2, 3), 15.0))


def test_the_precision_converts_the_example() -> None:
    precision = HalfPrecision("bf16-true")
    model = Nested(torch.zeros(2, 3))
    precision.convert_module(model)
    model._trainer = SimpleNamespace(precision_plugin=precision)  # type: ignore[assignment]
    assert forward_example(model).get_total_flops() == 248


def test_compiled_layers_run_as_they_were_written() -> None:
    compiled = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    model = Nested(torch.zeros(2, 3))
    model.first = torch.compile(model.first, backend=backend)  # type: ignore[assignment]
    assert forward_example(model).get_total_flops() == 248
    assert not compiled
