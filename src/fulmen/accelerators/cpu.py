"""The CPU."""

from __future__ import annotations

import os
from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.devices import check_type
from fulmen.utilities.exceptions import MisconfiguredType
from fulmen.utilities.imports import require


class CPUAccelerator(Accelerator):
    """The CPU. It has no indices: ``devices`` is a number of processes."""

    @staticmethod
    def name() -> str:
        return "cpu"

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def auto_device_count() -> int:
        """One process, or as many as ``torchrun`` has started on this machine."""
        given = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(given) if given.isdigit() else 1

    @staticmethod
    def parse_devices(devices: Any) -> int:
        """Reads the number of processes.

        Args:
            devices: A number above 0, or a string of one.

        Returns:
            The number.

        Raises:
            MisconfigurationException: If it is anything else.
        """
        text = str(devices).strip()
        count = int(text) if isinstance(devices, (int, str)) and text.isascii() and text.isdigit() else 0
        if count < 1:
            raise MisconfiguredType(
                "With the CPU as accelerator, `devices` is a number of processes above 0.",
                got=devices,
                fix='`devices=1` or `devices="auto"`; to train on a GPU by its index, pass `accelerator="gpu"` too.',
            )
        return count

    @staticmethod
    def get_parallel_devices(devices: int | str) -> list[torch.device]:
        return [torch.device("cpu")] * CPUAccelerator.parse_devices(devices)

    def setup_device(self, device: torch.device) -> None:
        check_type(device, "cpu", "CPUAccelerator")

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        return get_cpu_stats()


def get_cpu_stats() -> dict[str, float]:
    """The load of the machine, in percent: of its processors, its memory and its swap space.

    Raises:
        ModuleNotFoundError: If psutil is not installed.
    """
    psutil: Any = require("psutil", "all", "The load of the CPU")
    return {
        "cpu_vm_percent": psutil.virtual_memory().percent,
        "cpu_percent": psutil.cpu_percent(),
        "cpu_swap_percent": psutil.swap_memory().percent,
    }
