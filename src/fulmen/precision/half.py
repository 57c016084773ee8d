"""Half precision throughout."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from fulmen.precision.dtype import DefaultDtype, cast_floats
from fulmen.precision.precision import Precision
from fulmen.utilities.exceptions import MisconfigurationException

_DTYPES = {"16-true": torch.float16, "bf16-true": torch.bfloat16}


class HalfPrecision(Precision):
    """Parameters, batches and what a step makes in ``float16`` or ``bfloat16``.

    Args:
        precision: ``"16-true"`` or ``"bf16-true"``.

    Raises:
        MisconfigurationException: If it is another.
    """

    def __init__(self, precision: str = "16-true") -> None:
        if precision not in _DTYPES:
            raise MisconfigurationException(
                '`HalfPrecision` is either "16-true" or "bf16-true".',
                got=precision,
                fix='`HalfPrecision("bf16-true")`.',
            )
        self.precision = precision
        self._dtype = _DTYPES[precision]

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module.half() if self._dtype is torch.float16 else module.bfloat16()

    def convert_input(self, data: Any) -> Any:
        return cast_floats(data, self._dtype)

    def forward_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(self._dtype)

    def module_init_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(self._dtype)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        return DefaultDtype(self._dtype)
