"""Double precision throughout."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from fulmen.precision.dtype import DefaultDtype, cast_floats
from fulmen.precision.precision import Precision


class DoublePrecision(Precision):
    """Parameters, batches and what a step makes in ``float64`` (``"64-true"``)."""

    precision = "64-true"

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module.double()

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, torch.float64)

    def forward_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(torch.float64)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(torch.float64)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(torch.float64)
