"""The default dtype for a while, and casting batches."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from fulmen.utilities.tree import apply_to_collection


class DefaultDtype:
    """Sets the dtype of new floating point tensors for the length of a ``with`` block.

    Args:
        dtype: The dtype.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_default_dtype(self._before)


def cast_floats(data: Any, dtype: torch.dtype) -> Any:
    """Casts the real floating point tensors of a batch; integers, booleans and complex numbers stay as they are."""
    return apply_to_collection(data, Tensor, lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf)
