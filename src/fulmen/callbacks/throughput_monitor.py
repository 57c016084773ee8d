"""Logs how much a run gets through."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue
from fulmen.utilities.states import TrainerFn
from fulmen.utilities.throughput import Throughput, compute_dtype, get_available_flops

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class ThroughputMonitor(Callback):
    """Sends batches, samples, items and operations a second to the loggers, below ``train/``, ``validate/`` and so on.

    Rates go over a window of batches, and are logged as often as the Trainer logs (``log_every_n_steps``). Time spent
    in validation is no time of training. On the batches in between only a clock is read; where rates are logged, the
    host waits until the device has done what it was given.

    A module that has ``flops_per_batch`` (a number or a property, see
    :func:`~fulmen.utilities.throughput.measure_flops`) is shown with its operations a second and, on devices whose peak
    is known, with the part of it that is used (``mfu``). Training is drawn over steps, other stages over their batches.

    Args:
        batch_size_fn: Tells how many samples a batch has.
        length_fn: Tells how many items it has, for example tokens.
        **kwargs: For :class:`~fulmen.utilities.throughput.Throughput`, for example ``window_size=50``.

    Raises:
        MisconfigurationException: If a function is none; during a run, if it does not give a number that makes sense.

    Example:
        >>> monitor = ThroughputMonitor(lambda batch: batch[0].size(0), length_fn=lambda batch: batch[0].numel())
    """

    def __init__(
        self, batch_size_fn: Callable[[Any], int], length_fn: Callable[[Any], int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        _check_function("batch_size_fn", batch_size_fn)
        if length_fn is not None:
            _check_function("length_fn", length_fn)
        self.kwargs = kwargs
        self.batch_size_fn = batch_size_fn
        self.length_fn = length_fn
        self.available_flops: float | None = kwargs.get("available_flops")
        Throughput(**kwargs)  # complains now of what it does not know
        self._on = True
        self._stages: dict[str, _Stage] = {}
        self._has_flops = False

    def listens_to(self, event: str) -> bool:
        """Without a logger there is nobody to tell."""
        return self._on

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Makes ready what is measured in this run."""
        self._on = bool(trainer.loggers) and trainer.metrics.log_every_n_steps > 0
        self._has_flops = hasattr(pl_module, "flops_per_batch")
        kwargs = {"world_size": trainer.world_size, **self.kwargs}
        if self._has_flops and "available_flops" not in kwargs:
            dtype = compute_dtype(trainer.precision_plugin)
            self.available_flops = get_available_flops(trainer.strategy.root_device, dtype)
            kwargs["available_flops"] = self.available_flops
        names = ("train", "validate") if stage == TrainerFn.FITTING else (str(getattr(stage, "value", stage)),)
        self._stages.update({name: _Stage(Throughput(**kwargs)) for name in names})

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Starts the clock of training."""
        self._stages["train"].start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Counts the batch, and logs if it is time to."""
        stage = self._stages["train"]
        due = trainer.fit_loop.optimization.closed and trainer.should_log
        if not trainer.fit_loop.is_without_batch:
            self._count(trainer, pl_module, stage, batch, due)
        if due:
            self._log(trainer, "train", stage, trainer.fit_loop.epoch_loop._batches_that_stepped, trainer.current_epoch)

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        """Starts the clock of validation, and stops that of training."""
        if not trainer.sanity_checking:
            self._stages["validate"].restart()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Counts the batch, and logs if it is time to."""
        if not trainer.sanity_checking:
            self._evaluated(trainer, pl_module, "validate", batch)

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Lets the clock of training go on."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._stages["train"].leave_out(self._stages["validate"].stop())

    def on_test_start(self, trainer: Trainer, *_: Any) -> None:
        """Starts the clock of testing."""
        self._stages["test"].restart()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Counts the batch, and logs if it is time to."""
        self._evaluated(trainer, pl_module, "test", batch)

    def on_predict_start(self, trainer: Trainer, *_: Any) -> None:
        """Starts the clock of prediction."""
        self._stages["predict"].restart()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Counts the batch, and logs if it is time to."""
        self._evaluated(trainer, pl_module, "predict", batch)

    def _evaluated(self, trainer: Trainer, pl_module: LightningModule, name: str, batch: Any) -> None:
        stage = self._stages[name]
        due = (stage.batches + 1) % trainer.metrics.log_every_n_steps == 0
        self._count(trainer, pl_module, stage, batch, due)
        if due:
            self._log(trainer, name, stage, stage.batches_before + stage.batches)

    def _count(self, trainer: Trainer, pl_module: LightningModule, stage: _Stage, batch: Any, due: bool) -> None:
        samples = _checked("batch_size_fn", self.batch_size_fn(batch), 1)
        lengths = None if self.length_fn is None else _checked("length_fn", self.length_fn(batch), samples)
        if due and trainer.strategy.root_device.type != "cpu":
            torch.accelerator.synchronize(trainer.strategy.root_device)
        stage.count(samples, lengths, pl_module.flops_per_batch if self._has_flops else None)

    @staticmethod
    def _log(trainer: Trainer, name: str, stage: _Stage, step: int, epoch: int | None = None) -> None:
        between = stage.throughput.separator
        values = {f"{name}{between}{key}": value for key, value in stage.throughput.compute().items()}
        if epoch is not None:
            values["epoch"] = epoch
        for logger in trainer.loggers:
            logger.log_metrics(metrics=values, step=trainer.metrics.place(logger, step))
            getattr(logger, "_save_soon", logger.save)()


class _Stage:
    """The totals of a stage, and the time that it took."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput
        self.batches_before = self.batches = self.samples = self.lengths = 0
        self._began: float | None = None

    def start(self) -> None:
        """Begins to count from nothing."""
        self.throughput.reset()
        self.batches = self.samples = self.lengths = 0
        self._began = time.perf_counter()

    def restart(self) -> None:
        """Begins another pass: on the x axis it comes after those before."""
        self.batches_before += self.batches
        self.start()

    def stop(self) -> float:
        """How long the pass took, in seconds."""
        began, self._began = self._began, None
        return 0.0 if began is None else time.perf_counter() - began

    def leave_out(self, seconds: float) -> None:
        """Takes time out of the count that was spent on something else."""
        if self._began is not None:
            self._began += seconds

    def count(self, samples: int, lengths: int | None, flops: Any) -> None:
        """Adds a batch that has just been done."""
        if self._began is None:  # a run that goes on within a pass
            self.start()
        assert self._began is not None
        self.batches += 1
        self.samples += samples
        self.lengths += lengths or 0
        self.throughput.update(
            time=time.perf_counter() - self._began,
            batches=self.batches,
            samples=self.samples,
            lengths=None if lengths is None else self.lengths,
            flops=flops,
        )


def _check_function(name: str, given: Any) -> None:
    if not callable(given):
        raise MisconfiguredType(
            f"`ThroughputMonitor({name}=...)` is a function that takes a batch and returns a whole number.",
            got=given,
            fix=f"Write `{name}=lambda batch: batch[0].size(0)`, for example.",
        )


def _checked(function: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < max(least, 1):
        what = "samples a batch has" if function == "batch_size_fn" else "items a batch has, at least one a sample"
        raise MisconfiguredValue(
            f"`ThroughputMonitor({function}=...)` tells how many {what}.",
            got=value,
            fix=f"Return a whole number of {least} or more, such as `len(batch)` or `batch[0].size(0)`.",
        )
    return number
