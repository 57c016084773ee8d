"""On what a model runs: the kinds of device, and which ones a user means."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Accelerator": "fulmen.accelerators.accelerator",
        "AcceleratorRegistry": "fulmen.accelerators.registry",
        "CPUAccelerator": "fulmen.accelerators.cpu",
        "CUDAAccelerator": "fulmen.accelerators.cuda",
        "GenericAccelerator": "fulmen.accelerators.generic",
        "MPSAccelerator": "fulmen.accelerators.mps",
        "find_usable_cuda_devices": "fulmen.accelerators.cuda",
    },
)
