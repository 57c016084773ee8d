"""The package that writes what TensorBoard reads: torch's writer over `tensorboard`, or `tensorboardX`, its model."""

from __future__ import annotations

import uuid
from functools import cache
from importlib import import_module
from types import ModuleType

from fulmen.utilities.imports import available, require


def is_there() -> bool:
    """Whether one of them is installed."""
    return available("tensorboard") or available("tensorboardX")


def writer_module() -> ModuleType:
    """Where ``SummaryWriter`` is.

    Raises:
        ModuleNotFoundError: If neither is installed.
    """
    if _is_other():
        return import_module("tensorboardX")
    return require("torch.utils.tensorboard", "loggers", "TensorBoardLogger")


def summary_module() -> ModuleType:
    """Where functions are that make a ``Summary``."""
    return import_module("tensorboardX.summary" if _is_other() else "torch.utils.tensorboard.summary")


def protocol_module() -> ModuleType:
    """Where ``Summary`` is."""
    return import_module(f"{'tensorboardX' if _is_other() else 'tensorboard.compat'}.proto.summary_pb2")


def new_suffix(given: str) -> str:
    """What to end a new file's name with.

    Args:
        given: What the user wants it to end with.
    """
    # `tensorboardX` names files by the second, and writes over an earlier one of the same second
    return f"{given}.{uuid.uuid4().hex[:8]}" if _is_other() else given


@cache
def _is_other() -> bool:
    return not available("tensorboard") and available("tensorboardX")
