"""A wrapper that gives a module's steps batches in double precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fulmen.core.device_dtype import DeviceDtypeMixin
from fulmen.precision.dtype import cast_floats
from fulmen.utilities.rank_zero import rank_zero_deprecation


class LightningDoublePrecisionModule(DeviceDtypeMixin):
    """Calls a module, and its steps, with all floating point tensors in ``float64``.

    Deprecated: ``Trainer(precision="64-true")`` needs no wrapper.

    Args:
        pl_module: The module, whose parameters are double already.
    """

    def __init__(self, pl_module: nn.Module) -> None:
        super().__init__()
        rank_zero_deprecation(
            "`LightningDoublePrecisionModule` is not needed any more. What to do: `Trainer(precision='64-true')`, or "
            "`trainer.precision_plugin.convert_input(batch)` before the module's own step."
        )
        self.module: Any = pl_module
        self._dtype = torch.float64

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self._call(self.module.training_step, args, kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self._call(self.module.validation_step, args, kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self._call(self.module.test_step, args, kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self._call(self.module.predict_step, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self._call(self.module, args, kwargs)

    def _call(self, function: Any, args: Any, kwargs: Any) -> Any:
        return function(*cast_floats(args, torch.float64), **cast_floats(kwargs, torch.float64))
