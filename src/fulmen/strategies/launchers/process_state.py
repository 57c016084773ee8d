"""What a fresh process needs to go on like the one that started it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from fulmen.utilities.rng import HostRng, note


@dataclass
class ProcessState:
    """Torch's global switches and the random states of the process that makes one."""

    rng: HostRng = field(default_factory=note)
    deterministic: bool = field(default_factory=torch.are_deterministic_algorithms_enabled)
    warn_only: bool = field(default_factory=torch.is_deterministic_algorithms_warn_only_enabled)
    cudnn_deterministic: Any = field(default_factory=lambda: torch.backends.cudnn.deterministic)
    cudnn_benchmark: Any = field(default_factory=lambda: torch.backends.cudnn.benchmark)
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)
    matmul: str = field(default_factory=torch.get_float32_matmul_precision)

    def put(self) -> None:
        """Gives this process the state."""
        if self.deterministic != torch.are_deterministic_algorithms_enabled():  # the setter imports much
            torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul)
        seed = os.environ.get("PL_GLOBAL_SEED", "")
        if seed.isdigit():
            torch.manual_seed(int(seed))  # for devices, whose generators get it when they are first used
        self.rng.put()
