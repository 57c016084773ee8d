"""The GPU of an Apple computer."""

from __future__ import annotations

import platform
from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.devices import check_type, indices
from fulmen.utilities.imports import require


class MPSAccelerator(Accelerator):
    """The GPU of an Apple computer; there is one."""

    @staticmethod
    def name() -> str:
        return "mps"

    @staticmethod
    def is_available() -> bool:
        # An x86 build under Rosetta reports the GPU too, and can not use it.
        return torch.backends.mps.is_available() and platform.machine() == "arm64"

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return indices(devices, "mps", 1)

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device("mps", index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        check_type(device, "mps", "MPSAccelerator")

    def teardown(self) -> None:
        if self.is_available():
            torch.mps.empty_cache()

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        return get_device_stats()


def get_device_stats() -> dict[str, float]:
    """The load of an Apple computer, in percent: of its processors, its memory and its swap space.

    Raises:
        ModuleNotFoundError: If psutil is not installed.
    """
    psutil: Any = require("psutil", "all", "The load of the machine")
    return {
        "M1_vm_percent": psutil.virtual_memory().percent,
        "M1_percent": psutil.cpu_percent(),
        "M1_swap_percent": psutil.swap_memory().percent,
    }
