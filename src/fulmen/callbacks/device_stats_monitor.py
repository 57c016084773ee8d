"""Logs the figures of the device while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.accelerators.cpu import get_cpu_stats
from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.imports import require

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class DeviceStatsMonitor(Callback):
    """Sends the figures of the device to the loggers, before and after a batch: memory of a GPU, load of a machine.

    The names are those of the event and the figure: ``DeviceStatsMonitor.on_train_batch_start/cpu_percent``. Training,
    validation and testing are watched, each as often as the Trainer logs (``log_every_n_steps``). On the batches in
    between nothing is asked of the device; a figure of a GPU is a counter of its memory manager, for which nothing
    waits.

    Args:
        cpu_stats: Whether to log the load of the CPU, too, which needs the package `psutil`. None does so where the
            CPU is the device.

    Raises:
        MisconfigurationException: If `cpu_stats` is something else; when a run begins, if there is no logger.
        ModuleNotFoundError: When a run begins, if `psutil` is needed and not installed.

    Example:
        >>> monitor = DeviceStatsMonitor(cpu_stats=True)
    """

    def __init__(self, cpu_stats: bool | None = None) -> None:
        if cpu_stats is not None and not isinstance(cpu_stats, bool):
            raise MisconfiguredType(
                "`DeviceStatsMonitor(cpu_stats=...)` is True, False or None.",
                got=cpu_stats,
                fix="Pass True to log the load of the CPU, too, or leave it out to do so where the CPU is the device.",
            )
        self._cpu_stats = cpu_stats
        self._batch = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks that there is something to log to, and what to log it with."""
        if not trainer.loggers:
            raise MisconfigurationException(
                "`DeviceStatsMonitor` needs a logger, and the Trainer has none.",
                fix="Pass `Trainer(logger=True)` or a logger of your choice, or remove the callback.",
            )
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if self._cpu_stats or (self._cpu_stats is None and on_cpu):
            psutil: Any = require("psutil", "all", "`DeviceStatsMonitor`")
            psutil.cpu_percent()  # it tells of the time since its last call, and of nothing at its first

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.should_log:
            self._log(trainer, "on_train_batch_start")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.should_log:
            self._log(trainer, "on_train_batch_end")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch += 1
        if self._is_due(trainer):
            self._log(trainer, "on_validation_batch_start")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._log(trainer, "on_validation_batch_end")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batch = 0

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch += 1
        if self._is_due(trainer):
            self._log(trainer, "on_test_batch_start")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._log(trainer, "on_test_batch_end")

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether a batch of an evaluation is one to log."""
        every = trainer.metrics.log_every_n_steps
        return every > 0 and self._batch % every == 0

    def _log(self, trainer: Trainer, event: str) -> None:
        device = trainer.strategy.root_device
        on_cpu = device.type == "cpu"
        stats: dict[str, Any] = {}
        if not on_cpu:
            stats = trainer.accelerator.get_device_stats(device)
        if self._cpu_stats or (self._cpu_stats is None and on_cpu):
            stats = {**stats, **get_cpu_stats()}
        if not stats:
            return
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            between = logger.group_separator
            named = {f"{type(self).__name__}.{event}{between}{name}": value for name, value in stats.items()}
            logger.log_metrics(named, step=trainer.metrics.place(logger, step))
