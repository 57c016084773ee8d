"""Types that signatures name, and the record of a learning rate scheduler."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel as DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

if TYPE_CHECKING:
    from torchmetrics import Metric

TReduce = TypeVar("TReduce")
TBroadcast = TypeVar("TBroadcast")

_NUMBER: TypeAlias = int | float
_PATH: TypeAlias = str | os.PathLike[str]
_DEVICE: TypeAlias = torch.device | str | int
_MAP_LOCATION_TYPE: TypeAlias = (
    _DEVICE | Callable[[torch.UntypedStorage, str], torch.UntypedStorage | None] | dict[_DEVICE, _DEVICE] | None
)
_METRIC: TypeAlias = "Metric | Tensor | _NUMBER"
_EVALUATE_OUTPUT: TypeAlias = list[Mapping[str, float]]
_PREDICT_OUTPUT: TypeAlias = list[Any] | list[list[Any]]

STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
"""What a step may return: a loss, a dict with ``"loss"`` and extras, or None."""

TRAIN_DATALOADERS: TypeAlias = Any
"""A loader or a nest of loaders: any iterable of batches will do."""

EVAL_DATALOADERS: TypeAlias = Any
"""A loader or a list of loaders: any iterable of batches will do."""

LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerPLType: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)


@dataclass
class LRSchedulerConfig:
    """A learning rate scheduler and when it steps.

    Args:
        scheduler: The scheduler.
        name: Its name in logs; None derives one from the optimizer.
        interval: ``"epoch"`` or ``"step"`` (an optimizer step).
        frequency: Every how many intervals it steps.
        reduce_on_plateau: Whether it steps on a monitored value.
        monitor: The name of that value.
        strict: Whether a missing value is an error; otherwise it is a warning.
    """

    scheduler: LRSchedulerTypeUnion
    name: str | None = None
    interval: str = "epoch"
    frequency: int = 1
    reduce_on_plateau: bool = False
    monitor: str | None = None
    strict: bool = True


class _Scheduler(TypedDict):
    scheduler: LRSchedulerTypeUnion


class LRSchedulerConfigType(_Scheduler, total=False):
    """A scheduler dict, as ``configure_optimizers`` returns it."""

    name: str | None
    interval: str
    frequency: int
    reduce_on_plateau: bool
    monitor: str | None
    strict: bool


class OptimizerConfig(TypedDict):
    """A dict with an optimizer alone, as ``configure_optimizers`` returns it."""

    optimizer: Optimizer


class _OptimizerAndScheduler(TypedDict):
    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType


class OptimizerLRSchedulerConfig(_OptimizerAndScheduler, total=False):
    """A dict with an optimizer and its scheduler, as ``configure_optimizers`` returns it."""

    monitor: str


OptimizerLRScheduler: TypeAlias = (
    Optimizer
    | Sequence[Optimizer]
    | tuple[Sequence[Optimizer], Sequence[LRSchedulerTypeUnion | LRSchedulerConfig]]
    | OptimizerConfig
    | OptimizerLRSchedulerConfig
    | Sequence[OptimizerConfig]
    | Sequence[OptimizerLRSchedulerConfig]
    | None
)
"""Everything that ``configure_optimizers`` may return."""


@runtime_checkable
class _Stateful(Protocol):
    """Anything whose state can be taken and given back."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Takes a state."""


@runtime_checkable
class _SizedIterable(Protocol):
    """Anything with a length that can be iterated."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


@runtime_checkable
class Steppable(Protocol):
    """Anything with a method ``step``."""

    def step(self, closure: Any = None) -> Any:
        """Takes a step."""


@runtime_checkable
class Optimizable(Steppable, Protocol):
    """Anything that behaves like an optimizer."""

    param_groups: list[dict[Any, Any]]
    defaults: dict[Any, Any]
    state: Any

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state."""
