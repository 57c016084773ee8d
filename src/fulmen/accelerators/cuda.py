"""GPUs of NVIDIA, and of AMD by ROCm."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.devices import check_type, indices
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_info


class CUDAAccelerator(Accelerator):
    """A GPU of NVIDIA, or of AMD by ROCm."""

    @staticmethod
    def name() -> str:
        return "cuda"

    @staticmethod
    def is_available() -> bool:
        return num_cuda_devices() > 0

    @staticmethod
    def auto_device_count() -> int:
        return num_cuda_devices()

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return indices(devices, "cuda", num_cuda_devices())

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device("cuda", index) for index in devices]

    def setup_device(self, device: torch.device) -> None:
        check_type(device, "cuda", "CUDAAccelerator")
        torch.cuda.set_device(device)

    def setup(self, trainer: Any) -> None:
        """Names the visible GPUs in the log, and frees memory that an earlier run left cached."""
        self.set_nvidia_flags(trainer.local_rank)
        torch.cuda.empty_cache()

    @staticmethod
    def set_nvidia_flags(local_rank: int) -> None:
        """Orders GPUs by their place on the bus, as ``nvidia-smi`` does, and names the visible ones in the log."""
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        every = ",".join(str(index) for index in range(num_cuda_devices()))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", every)
        rank_zero_info(f"LOCAL_RANK: {local_rank} - CUDA_VISIBLE_DEVICES: [{visible}]")

    def teardown(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        return dict(torch.cuda.memory_stats(device))


def num_cuda_devices() -> int:
    """The number of visible CUDA devices; asks the driver without creating a context where it can."""
    return torch.cuda.device_count()


def is_cuda_available() -> bool:
    """Whether a CUDA device is visible."""
    return num_cuda_devices() > 0


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """The first GPUs on which memory can be had, for machines where others hold some exclusively.

    Args:
        num_devices: How many; -1 for all that are usable.

    Returns:
        Their indices.

    Raises:
        MisconfigurationException: If so many are not usable.
    """
    if num_devices == 0:
        return []
    usable: list[int] = []
    for index in range(num_cuda_devices()):
        if len(usable) == num_devices:
            break
        try:
            torch.tensor(0.0, device=torch.device("cuda", index))
        except RuntimeError:
            continue
        usable.append(index)
    if not usable or (num_devices > 0 and len(usable) < num_devices) or num_devices < -1:
        raise MisconfigurationException(
            f"{num_devices} usable CUDA devices were asked for, and {len(usable)} of {num_cuda_devices()} are usable.",
            fix="Ask for fewer, end the processes that hold the others (`nvidia-smi` lists them), or train with "
            '`accelerator="cpu"`.',
        )
    return usable


_NVIDIA_FIGURES = {
    "utilization.gpu": "%",
    "memory.used": "MB",
    "memory.free": "MB",
    "utilization.memory": "%",
    "fan.speed": "%",
    "temperature.gpu": "°C",
    "temperature.memory": "°C",
}


def get_nvidia_gpu_stats(device: torch.device | str | int) -> dict[str, float]:
    """What ``nvidia-smi`` tells of a GPU: load, memory, fan and temperature, by name with its unit.

    Args:
        device: The GPU, or its index among the visible ones.

    Returns:
        The figures; 0.0 for those that the GPU does not report.

    Raises:
        FileNotFoundError: If ``nvidia-smi`` is not installed.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise FileNotFoundError(
            "`nvidia-smi` was not found. What to do: install NVIDIA's driver utilities, or read "
            "`CUDAAccelerator().get_device_stats(device)`, which does not need them."
        )
    index = device if isinstance(device, int) else (torch.device(device).index or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = visible.split(",")[index].strip() if visible else str(index)
    query = ",".join(_NVIDIA_FIGURES)
    command = [program, f"--query-gpu={query}", "--format=csv,nounits,noheader", f"--id={chosen}"]
    answer = subprocess.run(command, encoding="utf-8", capture_output=True, check=True).stdout
    values = answer.strip().splitlines()[0].split(",")
    return {
        f"{name} ({unit})": _number(value) for (name, unit), value in zip(_NVIDIA_FIGURES.items(), values, strict=True)
    }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
