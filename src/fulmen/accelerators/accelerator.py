"""What Fulmen asks of a kind of device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from fulmen.accelerators.registry import Accelerators


class Accelerator(ABC):
    """A kind of device: how many there are, what ``devices=`` means for it, and how it is made ready.

    Subclasses may define these as static methods, so that ``CUDAAccelerator.is_available()`` works on the class.
    """

    def name(self) -> str:
        """The name that users pass as ``accelerator=``."""
        return type(self).__name__.removesuffix("Accelerator").lower()

    @abstractmethod
    def is_available(self) -> bool:
        """Whether this machine has such a device."""

    @abstractmethod
    def auto_device_count(self) -> int:
        """How many there are."""

    @abstractmethod
    def parse_devices(self, devices: Any) -> Any:
        """Reads what a user passed as ``devices=``.

        Args:
            devices: A number, a string, or a list of indices.

        Returns:
            What :meth:`get_parallel_devices` takes.

        Raises:
            MisconfigurationException: If it means no device that is there.
        """

    @abstractmethod
    def get_parallel_devices(self, devices: Any) -> list[torch.device]:
        """The devices, one for each process.

        Args:
            devices: What :meth:`parse_devices` returned.
        """

    @abstractmethod
    def setup_device(self, device: torch.device) -> None:
        """Makes a device the current one of this process.

        Raises:
            MisconfigurationException: If it is of another kind.
        """

    def setup(self, trainer: Any) -> None:
        """Called when a run begins, before the model is moved."""
        return

    def teardown(self) -> None:
        """Frees what the run held on the device."""
        return

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        """Figures of a device for :class:`~fulmen.callbacks.DeviceStatsMonitor`, by name."""
        return {}

    @classmethod
    def register_accelerators(cls, accelerator_registry: Accelerators) -> None:
        """Enters the class into a registry; a subclass may enter itself under names of its own."""
        accelerator_registry.register(cls.__name__.removesuffix("Accelerator").lower(), cls)
