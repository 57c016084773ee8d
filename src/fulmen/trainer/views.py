"""What a Trainer shows of itself: views, each of one fact that lies elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.core.logging import MediaLogging
from fulmen.core.module import LightningModule, overridden
from fulmen.trainer.inside import InsideViews
from fulmen.utilities.states import RunningStage, TrainerFn, TrainerState, TrainerStatus

if TYPE_CHECKING:
    from fulmen.accelerators.accelerator import Accelerator
    from fulmen.callbacks.callback import Callback
    from fulmen.core.datamodule import LightningDataModule
    from fulmen.loggers.logger import Logger
    from fulmen.loops.evaluate import EvaluationLoop
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.logbook import LogBook
    from fulmen.loops.metrics import Metrics
    from fulmen.loops.predict import PredictionLoop
    from fulmen.loops.progress import Progress
    from fulmen.precision.precision import Precision
    from fulmen.strategies.strategy import Strategy
    from fulmen.trainer.signals import Signals
    from fulmen.utilities.types import LRSchedulerConfig


class ProgressViews(InsideViews):
    """How far a run has come and what it is doing."""

    state: TrainerState
    progress: Progress
    signals: Signals
    _left: dict[str, Any] | None = None  # what training in other processes left, for checkpoints
    if TYPE_CHECKING:  # the Trainer makes them on first use

        @cached_property
        def fit_loop(self) -> FitLoop: ...
        @cached_property
        def validate_loop(self) -> EvaluationLoop: ...
        @cached_property
        def test_loop(self) -> EvaluationLoop: ...
        @cached_property
        def predict_loop(self) -> PredictionLoop: ...

    @property
    def global_step(self) -> int:
        """The number of optimizer steps taken."""
        return self.progress.steps

    @property
    def current_epoch(self) -> int:
        """The number of epochs that are complete."""
        return self.progress.epoch

    @property
    def max_epochs(self) -> int | None:
        """Epochs to run at most; -1 for no limit."""
        return self.fit_loop.max_epochs

    @property
    def min_epochs(self) -> int | None:
        """Epochs to run at least."""
        return self.fit_loop.min_epochs

    @property
    def max_steps(self) -> int:
        """Optimizer steps to take at most; -1 for no limit."""
        return self.fit_loop.max_steps

    @property
    def min_steps(self) -> int | None:
        """Optimizer steps to take at least."""
        return self.fit_loop.min_steps

    @property
    def is_last_batch(self) -> bool:
        """Whether the running training batch is the last of its epoch."""
        return self.fit_loop.epoch_loop.is_last_batch

    @property
    def interrupted(self) -> bool:
        """Whether the last run was ended by an exception or Ctrl-C."""
        return self.state.status == TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was asked to end with ``SIGTERM`` while the last `fit` ran."""
        return signal.SIGTERM in self.signals.came

    def _in(self, stage: RunningStage) -> bool:
        return self.state.stage == stage

    def _set(self, stage: RunningStage, value: bool) -> None:
        self.state.stage = stage if value else None

    @property
    def training(self) -> bool:
        """Whether it trains."""
        return self._in(RunningStage.TRAINING)

    @training.setter
    def training(self, value: bool) -> None:
        self._set(RunningStage.TRAINING, value)

    @property
    def testing(self) -> bool:
        """Whether it tests."""
        return self._in(RunningStage.TESTING)

    @testing.setter
    def testing(self, value: bool) -> None:
        self._set(RunningStage.TESTING, value)

    @property
    def predicting(self) -> bool:
        """Whether it predicts."""
        return self._in(RunningStage.PREDICTING)

    @predicting.setter
    def predicting(self, value: bool) -> None:
        self._set(RunningStage.PREDICTING, value)

    @property
    def validating(self) -> bool:
        """Whether it validates."""
        return self._in(RunningStage.VALIDATING)

    @validating.setter
    def validating(self, value: bool) -> None:
        self._set(RunningStage.VALIDATING, value)

    @property
    def sanity_checking(self) -> bool:
        """Whether it tries a few validation batches ahead of training."""
        return self._in(RunningStage.SANITY_CHECKING)

    @sanity_checking.setter
    def sanity_checking(self, value: bool) -> None:
        self._set(RunningStage.SANITY_CHECKING, value)

    @property
    def evaluating(self) -> bool:
        """Whether it computes metrics without training."""
        return self.state.stage is not None and self.state.stage.evaluating


class DataViews(ProgressViews):
    """Loaders, and how many batches of them there are."""

    datamodule: LightningDataModule | None
    limit_val_batches: int | float
    num_sanity_val_steps: int | float

    @property
    def train_dataloader(self) -> Any:
        """The training loader, as it was given."""
        return self.fit_loop.data.original

    @property
    def val_dataloaders(self) -> Any:
        """The validation loaders, as they were given."""
        return self._validation_data.original

    @property
    def test_dataloaders(self) -> Any:
        """The test loaders, as they were given."""
        return self.test_loop.data.original

    @property
    def predict_dataloaders(self) -> Any:
        """The prediction loaders, as they were given."""
        return self.predict_loop.data.original

    @property
    def _validation_data(self) -> Any:
        alone = self.state.fn == TrainerFn.VALIDATING
        return (self.validate_loop if alone else self.fit_loop.validation).data

    @property
    def num_training_batches(self) -> int | float:
        """Training batches in an epoch; infinite while unknown."""
        return self.fit_loop.data.max_batches

    @property
    def num_val_batches(self) -> list[int | float]:
        """Validation batches of each loader."""
        return list(self._validation_data.max_batches)

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Validation batches of each loader in the sanity check."""
        return [min(self.num_sanity_val_steps, n) for n in self.fit_loop.validation.data.max_batches]

    @property
    def num_test_batches(self) -> list[int | float]:
        """Test batches of each loader."""
        return list(self.test_loop.data.max_batches)

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Prediction batches of each loader."""
        return list(self.predict_loop.data.max_batches)

    @property
    def val_check_batch(self) -> int | float | None:
        """Training batches between two validations, once the loader is known."""
        plan = getattr(self.fit_loop, "validation_plan", None)
        return None if plan is None else plan.interval

    @property
    def enable_validation(self) -> bool:
        """Whether there is something to validate on and with."""
        return self.fit_loop.validation.data.source.defined and self._has_validation_step and self.limit_val_batches > 0

    @property
    def _has_validation_step(self) -> bool:
        raise AttributeError


class PartViews(DataViews, MediaLogging):
    """The parts that a Trainer is made of."""

    if TYPE_CHECKING:

        @property
        def callbacks(self) -> list[Callback]: ...
        @callbacks.setter
        def callbacks(self, callbacks: list[Callback]) -> None: ...

    _loggers: list[Logger]
    _strategy: Strategy
    metrics: Metrics
    logbook: LogBook
    _default_root_dir: str
    _ckpt_path: str | None
    companions: tuple[Callback, ...] = ()
    """Callbacks that hear of everything first, and that nobody sees."""

    @property
    def strategy(self) -> Strategy:
        """How processes and devices are used."""
        return self._strategy

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return self._strategy.accelerator

    @property
    def precision_plugin(self) -> Precision:
        """How numbers look."""
        return self._strategy.precision_plugin

    @property
    def precision(self) -> str:
        """The name of the precision, such as ``"32-true"``."""
        return str(self.precision_plugin.precision)

    @property
    def scaler(self) -> Any:
        """The gradient scaler of 16-bit mixed precision, else None."""
        return getattr(self.precision_plugin, "scaler", None)

    @property
    def global_rank(self) -> int:
        """The rank of this process among all."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this machine."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return self._strategy.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the first process, which writes files and prints."""
        return self._strategy.is_global_zero

    @property
    def num_nodes(self) -> int:
        """The number of machines."""
        return getattr(self._strategy, "num_nodes", 1)

    @property
    def num_devices(self) -> int:
        """The number of devices on this machine."""
        return len(self.device_ids)

    @property
    def device_ids(self) -> list[int]:
        """The indices of the devices."""
        devices = getattr(self._strategy, "parallel_devices", None) or [self._strategy.root_device]
        return [i if device.index is None else device.index for i, device in enumerate(devices)]

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any] | None:
        """What a distributed sampler must know; None with one process."""
        return getattr(self._strategy, "distributed_sampler_kwargs", None)

    @property
    def lightning_module(self) -> LightningModule:
        """The module that runs or ran last."""
        module: LightningModule = self._strategy.lightning_module
        return module

    @property
    def _has_validation_step(self) -> bool:
        module = self.lightning_module
        return module is not None and overridden(module, "validation_step", LightningModule) is not None

    @property
    def model(self) -> torch.nn.Module | None:
        """The module as the strategy wraps it."""
        return self._strategy.model

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers."""
        return self._strategy.optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self._strategy.optimizers = optimizers

    def configured_optimizers(self) -> tuple[list[Optimizer], list[LRSchedulerConfig], list[Any]]:
        """What the module's ``configure_optimizers`` returns now, and the optimizers wrapped; for strategies."""
        from fulmen.trainer.optimizers import configured_optimizers

        return configured_optimizers(self)

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """The learning rate schedulers and when they step."""
        return self._strategy.lr_scheduler_configs

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._loggers

    @loggers.setter
    def loggers(self, loggers: list[Logger] | None) -> None:
        self._loggers = list(loggers or [])
        self.metrics.loggers = self._loggers

    @property
    def logger(self) -> Logger | None:
        """The first logger, or None."""
        return self._loggers[0] if self._loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """The folder of the first logger, else the default one."""
        if not self._loggers:
            return self.default_root_dir
        folder = self._loggers[0].log_dir or self._loggers[0].save_dir
        return None if folder is None else os.fspath(folder)

    @property
    def default_root_dir(self) -> str:
        """Where files go that no logger or callback has a place for."""
        return self._default_root_dir

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint that the run started from."""
        return self._ckpt_path

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """The newest value of every logged key."""
        return self.metrics.callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """What went to the loggers."""
        return self.metrics.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What the progress bar shows."""
        return self.metrics.bar

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Sends numbers to every logger at once, each on its own x axis; values of steps and epochs go by `self.log`.

        Args:
            metrics: Numbers by name.
            step: The step they belong to; None for the present one.
        """
        for logger in self.metrics.loggers:
            logger.log_metrics(metrics=dict(metrics), step=self.metrics.place(logger) if step is None else step)

    def _log_media(self, form: str, key: str, step: int | None, *given: Any) -> None:
        if self.metrics.loggers and self.is_global_zero:
            from fulmen.trainer.logging import hand_out  # only runs that log such things pay for it

            hand_out(self, form, key, step, given)  # type: ignore[arg-type]

    def metric_step(self, name: str) -> int | None:
        """After how many optimizer steps the value now in ``callback_metrics`` was made; None where there is none.

        Args:
            name: The key.
        """
        return self.metrics.made_at(name)

    @property
    def should_log(self) -> bool:
        """Whether the step values of the running window go to the loggers."""
        return self.metrics.due_at(self.progress.windows)

    def _of_kind(self, kind: str) -> list[Any]:
        # by name, so that nothing is imported to find out that it is not there
        return [cb for cb in self.callbacks if any(base.__name__ == kind for base in type(cb).__mro__)]

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """All callbacks that save checkpoints."""
        return self._of_kind("Checkpoint")

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that saves checkpoints, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """All callbacks that stop training early."""
        return self._of_kind("EarlyStopping")

    @property
    def early_stopping_callback(self) -> Any:
        """The first callback that stops training early, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def progress_bar_callback(self) -> Any:
        """The progress bar, or None."""
        return next(iter(self._of_kind("ProgressBar")), None)
