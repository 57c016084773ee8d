"""Where the state of an optimizer lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.utilities.tree import apply_to_collection


def move_optimizer(optimizer: Optimizer, device: torch.device) -> None:
    """Moves what an optimizer remembers of its parameters.

    Args:
        optimizer: The optimizer.
        device: Where its parameters lie, or will.
    """
    for group in optimizer.param_groups:
        # Adam and its kin count steps on the host, to read them without waiting for the device, unless told otherwise.
        counts_on_device = device.type == "cpu" or group.get("capturable", False) or group.get("fused", False)
        for parameter in group["params"]:
            state: dict[str, Any] = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if name != "step" or counts_on_device:
                    state[name] = apply_to_collection(value, Tensor, Tensor.to, device)
