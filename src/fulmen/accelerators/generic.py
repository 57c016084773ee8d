"""Any device that ``torch.accelerator`` reports."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.devices import check_type, current_type, indices
from fulmen.utilities.exceptions import MisconfigurationException


class GenericAccelerator(Accelerator):
    """A device of any type that ``torch.accelerator`` reports: XPU, HPU, NPU, or one registered out of tree.

    Args:
        device_type: The type, as in ``torch.device``; None takes the one of this machine.

    Raises:
        MisconfigurationException: If none is given and the machine has none.
    """

    def __init__(self, device_type: str | None = None) -> None:
        found = device_type if device_type is not None else current_type()
        if found is None:
            raise MisconfigurationException(
                "This machine has no accelerator that `torch.accelerator` reports.", fix='Pass `accelerator="cpu"`.'
            )
        self.device_type = found

    def name(self) -> str:
        return self.device_type

    def is_available(self) -> bool:
        return current_type() == self.device_type

    def auto_device_count(self) -> int:
        return torch.accelerator.device_count() if self.is_available() else 0

    def parse_devices(self, devices: Any) -> list[int]:
        return indices(devices, self.device_type, self.auto_device_count())

    def get_parallel_devices(self, devices: list[int]) -> list[torch.device]:
        return [torch.device(self.device_type, index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        check_type(device, self.device_type, type(self).__name__)
        torch.accelerator.set_device_index(device.index or 0)

    def teardown(self) -> None:
        if self.is_available():
            torch.accelerator.empty_cache()

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        return dict(torch.accelerator.memory_stats(torch.device(device)))
