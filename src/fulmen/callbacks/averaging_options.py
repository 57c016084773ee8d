"""What callbacks that average weights accept."""

from __future__ import annotations

from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue


def check_device(device: Any, number: bool = True) -> None:
    """Checks where an average is to lie.

    Args:
        device: The device.
        number: Whether a number may stand for one.

    Raises:
        MisconfigurationException: If that is no device.
    """
    if device is None or isinstance(device, torch.device):
        return
    if number and isinstance(device, int) and not _is_flag(device):
        return
    rule = "`device` is where the average lies."
    fix = 'Pass a `torch.device` or its name, as `device="cpu"`, or None for the device of the model.'
    if not isinstance(device, str):
        raise MisconfigurationException(rule, got=device, fix=fix)
    try:
        torch.device(device)
    except RuntimeError as error:
        raise MisconfigurationException(rule, got=device, fix=fix) from error


def check_ema(decay: Any, every: Any, step: Any, epoch: Any, more: dict[str, Any]) -> None:
    """Checks the arguments of an exponential moving average.

    Raises:
        MisconfigurationException: Naming the argument.
    """
    if more:
        raise MisconfiguredType(
            "`EMAWeightAveraging` makes the function that averages from `decay`, and takes no other.",
            got=", ".join(sorted(more)),
            fix="Leave it out and set `decay`, or pass it to `WeightAveraging`: `WeightAveraging(avg_fn=...)`.",
        )
    number = isinstance(decay, (int, float)) and not _is_flag(decay)
    if not number or not 0 <= decay <= 1:
        kind = MisconfiguredValue if number else MisconfiguredType
        raise kind(
            "`decay` is the part of the average that stays at each update, from 0 to 1.",
            got=decay,
            fix="Pass `decay=0.999`.",
        )
    if not isinstance(every, int) or _is_flag(every) or every < 0:
        raise MisconfiguredValue(
            "`update_every_n_steps` is a number of optimizer steps, or 0 to take in no weights after steps.",
            got=every,
            fix="Pass `update_every_n_steps=1`.",
        )
    for name, value in (("update_starting_at_step", step), ("update_starting_at_epoch", epoch)):
        if value is not None and (not isinstance(value, int) or _is_flag(value)):
            raise MisconfiguredType(
                f"`{name}` is a number, counted from 0.", got=value, fix=f"Pass `{name}=100`, or None."
            )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)
