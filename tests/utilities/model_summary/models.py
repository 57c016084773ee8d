"""Models to summarize."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fulmen import LightningModule


class Nested(LightningModule):
    """Layers within layers, a frozen one, an unused one, and a parameter of the model's own."""

    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.ReLU(), nn.Linear(5, 6, bias=False)))
        self.rest[0].requires_grad_(False)
        self.unused = nn.Dropout()
        self.own = nn.Parameter(torch.zeros(7))
        self.register_buffer("no_parameter", torch.zeros(100))
        self.example_input_array = example

    def forward(self, x: Tensor) -> Any:
        return self.rest(self.first(x))


class Noisy(LightningModule):
    """A model whose forward pass leaves traces wherever it can."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.norm.momentum = 0.9
        self.frozen = nn.Dropout().eval()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(1))
        self.last: Tensor
        self.register_buffer("last", torch.zeros(2, 3))
        self.modes: list[bool] = []
        self.example_input_array = torch.ones(2, 3)

    def forward(self, x: Tensor) -> Any:
        self.modes.append(self.training or torch.is_grad_enabled())
        self.calls += torch.rand(1)
        self.last = x + torch.randn(1)
        self.norm.get_buffer("running_mean").add_(1)
        return self.frozen(self.norm(x))


class Shared(LightningModule):
    """A layer under two names, and a weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.same = self.a
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.a.weight


class Lazy(LightningModule):
    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.a = nn.LazyLinear(4)
        self.b = nn.LazyBatchNorm1d()
        self.example_input_array = example

    def forward(self, x: Tensor) -> Any:
        return self.b(self.a(x))


class Sequence(LightningModule):
    """Takes one argument or two, and has layers with several inputs and outputs."""

    def __init__(self, example: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4)
        self.pair = nn.Bilinear(4, 4, 1)
        self.example_input_array = example

    def forward(self, x: Tensor, y: Any = None) -> Any:
        out, _ = self.lstm(x)
        return {"out": self.pair(out, out)}
