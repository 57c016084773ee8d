"""Types that signatures name so that the command line can fill them, and what stands for jsonargparse here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fulmen.utilities.imports import require

jsonargparse: Any = require("jsonargparse", "cli", "The command line")
Namespace: Any = jsonargparse.Namespace


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """The scheduler of torch, with the name of the value that it watches.

    Args:
        optimizer: Whose rate it changes.
        monitor: The name under which the value is logged.
        *args: As for torch's scheduler.
        **kwargs: As for torch's scheduler.
    """

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]

OptimizerCallable: TypeAlias = Callable[[Iterable[Any]], Optimizer]
"""The type of an argument that makes an optimizer of parameters: ``--model.optimizer=Adam`` fills it."""

LRSchedulerCallable: TypeAlias = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
"""The type of an argument that makes a scheduler of an optimizer."""

ArgsType: TypeAlias = list[str] | dict[str, Any] | Any | None
"""What ``LightningCLI(args=)`` takes: words of a command line, a nested dictionary, or a ``Namespace``."""
