"""Modules that know their device and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from fulmen.utilities.exceptions import MisconfiguredRun

if TYPE_CHECKING:
    from typing_extensions import Self


class DeviceDtypeMixin(nn.Module):
    """Keeps ``device`` and ``dtype`` through every conversion, also where there are no parameters to ask."""

    __jit_unused_properties__: ClassVar[list[str]] = ["device", "dtype"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dtype = torch.get_default_dtype()
        self._device = torch.empty(0).device

    @property
    def device(self) -> torch.device:
        """Where the module lies: write ``torch.zeros(3, device=self.device)`` for tensors made on the way."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the module."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        raise MisconfiguredRun(
            "The dtype of a module follows its weights and cannot be set.", got=dtype, fix="Use `module.to(dtype)`."
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Every conversion (to, cuda, cpu, type, float, to_empty ...) comes through here, for this module and for each
        # of its children: what it does to a tensor of ours is what it did to the weights.
        module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        probe = torch.empty(0, dtype=self._dtype, device=self._device)
        try:
            probe = fn(probe)
        except NotImplementedError:
            if self._device.type != "meta":
                raise
            # nothing can be copied out of the meta device: ask with a tensor that holds data
            probe = fn(torch.empty(0, dtype=self._dtype, device="cpu"))
        self._dtype, self._device = probe.dtype, probe.device
        return module  # type: ignore[no-any-return]
