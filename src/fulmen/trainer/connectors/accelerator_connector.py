"""Chooses device, strategy and precision, without a Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fulmen.checkpoint.io import TorchCheckpointIO
from fulmen.trainer.machine import AcceleratorInput, Plugin, PrecisionInput, StrategyInput, make_strategy, set_backends

if TYPE_CHECKING:
    from fulmen.accelerators.accelerator import Accelerator
    from fulmen.precision.precision import Precision
    from fulmen.strategies.strategy import Strategy
    from fulmen.trainer.trainer import Trainer


class _AcceleratorConnector:
    """The strategy that a Trainer with these arguments would have, and what belongs to it.

    Args:
        devices: See ``Trainer``, also for the other arguments.
        num_nodes: How many machines.
        accelerator: Which kind of device.
        strategy: A name, or a ``Strategy``.
        plugins: Parts of one's own.
        precision: How numbers look.
        sync_batchnorm: Kept as it is.
        benchmark: See ``Trainer``.
        use_distributed_sampler: Kept as it is.
        deterministic: See ``Trainer``.

    Example:
        >>> _AcceleratorConnector(accelerator="cpu", devices=1).strategy.root_device
        device(type='cpu')
    """

    def __init__(
        self,
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        accelerator: AcceleratorInput = "auto",
        strategy: StrategyInput = "auto",
        plugins: Plugin | list[Plugin] | None = None,
        precision: PrecisionInput | None = None,
        sync_batchnorm: bool = False,
        benchmark: bool | None = None,
        use_distributed_sampler: bool = True,
        deterministic: Any = None,
    ) -> None:
        set_backends(deterministic, benchmark)
        self.strategy: Strategy = make_strategy(accelerator, strategy, devices, num_nodes, precision, plugins)
        self.sync_batchnorm = sync_batchnorm
        self.use_distributed_sampler = use_distributed_sampler

    @classmethod
    def of(cls, trainer: Trainer) -> _AcceleratorConnector:
        """That of a Trainer."""
        made = cls.__new__(cls)
        made.strategy = trainer.strategy
        made.sync_batchnorm = False
        made.use_distributed_sampler = trainer.use_distributed_sampler
        return made

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return self.strategy.accelerator

    @property
    def precision_plugin(self) -> Precision:
        """How numbers look."""
        return self.strategy.precision_plugin

    @property
    def checkpoint_io(self) -> Any:
        """How checkpoints get to disk and back, where the user chose it; else None."""
        io = self.strategy.checkpoint_io
        return None if type(io) is TorchCheckpointIO else io

    @property
    def cluster_environment(self) -> Any:
        """Who this process is among others."""
        return self.strategy.cluster_environment

    @property
    def is_distributed(self) -> bool:
        """Whether there are several processes."""
        return self.strategy.world_size > 1

    @property
    def _parallel_devices(self) -> list[torch.device]:
        return list(getattr(self.strategy, "parallel_devices", None) or [self.strategy.root_device])

    @property
    def _accelerator_flag(self) -> str:
        return self.strategy.root_device.type

    @property
    def _devices_flag(self) -> int:
        return len(self._parallel_devices)

    @property
    def _num_nodes_flag(self) -> int:
        return getattr(self.strategy, "num_nodes", 1)

    @property
    def _strategy_flag(self) -> Strategy:
        return self.strategy

    @property
    def _precision_flag(self) -> str:
        return str(self.precision_plugin.precision)
