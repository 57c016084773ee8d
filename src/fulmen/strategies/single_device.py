"""One process on one device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fulmen.accelerators.accelerator import Accelerator
from fulmen.precision.precision import Precision
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.types import _DEVICE, TBroadcast, TReduce


class SingleDeviceStrategy(Strategy):
    """One process on one device: there is nobody to agree with.

    Args:
        device: The device.
        accelerator: The kind of device; None takes the one that `device` belongs to.
        checkpoint_io: How checkpoints get to disk and back.
        precision_plugin: How numbers look; None is single precision.
    """

    strategy_name = "single_device"

    def __init__(
        self,
        device: _DEVICE = "cpu",
        accelerator: Accelerator | None = None,
        checkpoint_io: Any = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self._root_device = torch.device(device)

    @property
    def root_device(self) -> torch.device:
        return self._root_device

    def model_to_device(self) -> None:
        if self.model is not None:
            self.model.to(self.root_device)

    def reduce(self, tensor: TReduce, *args: Any, **kwargs: Any) -> TReduce:
        return tensor

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        return tensor

    def broadcast(self, obj: TBroadcast, src: int = 0) -> TBroadcast:
        return obj

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        return
