"""Devices of a machine: which kind it has, and what ``devices=`` means for those that have an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType

_FIX = "`devices=1` for the first one, `devices=[1]` for the one with index 1, or `devices=-1` for all."


def current_type() -> str | None:
    """The type of the accelerator that PyTorch was built for and this machine has, or None."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return None if found is None else found.type


def indices(devices: Any, kind: str, available: int) -> list[int]:
    """The indices of the devices that a user asked for.

    Args:
        devices: A count (``2`` or ``"2"``), ``-1`` for all, or indices (``[0, 2]`` or ``"0,2"``).
        kind: The type of device, for the error text.
        available: How many there are.

    Returns:
        Indices without repetition, at least one.

    Raises:
        MisconfigurationException: If it can not be read, asks for none, or for one that is not there.
    """
    wanted = _from_string(devices, kind) if isinstance(devices, str) else devices
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if wanted == 0 or wanted < -1:
            raise MisconfigurationException("`devices` must ask for at least one device.", got=devices, fix=_FIX)
        wanted = list(range(available if wanted == -1 else wanted))
    if not isinstance(wanted, Sequence) or not all(type(index) is int for index in wanted):
        raise unreadable(devices, kind)
    chosen = list(wanted)
    if not chosen:
        raise MisconfigurationException("`devices` must ask for at least one device.", got=devices, fix=_FIX)
    if len(set(chosen)) != len(chosen):
        raise MisconfigurationException("`devices` must name each device once.", got=devices, fix=_FIX)
    missing = [index for index in chosen if not 0 <= index < available]
    if missing:
        there = "none" if available == 0 else ", ".join(str(index) for index in range(available))
        raise MisconfigurationException(
            f"`devices` names {kind} devices that this machine lacks: {', '.join(map(str, missing))}.",
            got=devices,
            fix=f"Choose among the indices that are there: {there}.",
        )
    return chosen


def _from_string(devices: str, kind: str) -> int | list[int]:
    text = devices.strip()
    try:
        return [int(part) for part in text.split(",") if part.strip()] if "," in text else int(text)
    except ValueError:
        raise unreadable(devices, kind) from None


def unreadable(devices: Any, kind: str) -> MisconfigurationException:
    """The error for something that is no number, string of numbers or list of numbers."""
    return MisconfiguredType(
        f"`devices` for {kind} must be a number, a list of indices, or a string of either.", got=devices, fix=_FIX
    )


def check_type(device: torch.device, kind: str, owner: str) -> None:
    """Raises unless a device is of one kind.

    Args:
        device: The device.
        kind: The type that it must have.
        owner: The accelerator's class, for the error text.
    """
    if device.type != kind:
        raise MisconfigurationException(
            f"`{owner}` sets up {kind} devices only.",
            got=f"device {str(device)!r}",
            fix=f"Pass `accelerator={device.type!r}`, or a strategy on a {kind} device.",
        )
