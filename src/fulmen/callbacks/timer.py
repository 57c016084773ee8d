"""Measures how long stages take, and stops training after a given time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.clock import is_time
from fulmen.utilities import interval as intervals
from fulmen.utilities.enums import LightningEnum
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_info
from fulmen.utilities.states import RunningStage

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

STAGES = tuple(str(stage.value) for stage in RunningStage)


class Interval(LightningEnum):
    """When the time is looked at: after each batch of training, or after each epoch."""

    step = "step"
    epoch = "epoch"


class Timer(Callback):
    """Measures the time of training, validation and testing, and stops training once its time is up.

    Times come from a clock that never goes back. Those of a resumed run count what was spent before.

    Args:
        duration: How long training may take: ``"DD:HH:MM:SS"``, a `timedelta` or its arguments as a dict. None only
            measures.
        interval: Whether to look at the clock after each ``"step"`` or each ``"epoch"`` of training.
        verbose: Whether to say so when the time is up.

    Raises:
        MisconfigurationException: If `duration` is no time, or `interval` is neither.

    Example:
        >>> Timer("00:12:00:00", interval="epoch").time_remaining()
        43200.0
    """

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, int] | None = None,
        interval: str = Interval.step,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        if interval not in ("step", "epoch"):
            raise MisconfigurationException(
                "`Timer(interval=...)` says when to look at the clock.",
                got=interval,
                fix='Pass interval="step" or interval="epoch".',
            )
        self._duration = None if duration is None else intervals.Interval.duration(duration, "Timer(duration)").seconds
        self._interval = interval
        self._verbose = verbose
        self._start_time: dict[str, float | None] = dict.fromkeys(STAGES)
        self._end_time: dict[str, float | None] = dict.fromkeys(STAGES)
        self._offset = 0.0
        self._deadline = float("inf")
        self._shared = False

    def listens_to(self, event: str) -> bool:
        """The end of a batch or an epoch matters only where the clock is looked at then."""
        if event == "on_train_batch_end":
            return self._duration is not None and self._interval == "step"
        if event == "on_train_epoch_end":
            return self._duration is not None and self._interval == "epoch"
        return True

    def start_time(self, stage: str = RunningStage.TRAINING) -> float | None:
        """When a stage began, in seconds of ``time.monotonic()``; None if it did not."""
        return self._start_time[_checked(stage)]

    def end_time(self, stage: str = RunningStage.TRAINING) -> float | None:
        """When a stage ended, in seconds of ``time.monotonic()``; None if it did not."""
        return self._end_time[_checked(stage)]

    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        """How long a stage has taken so far, in seconds."""
        stage = _checked(stage)
        offset = self._offset if stage == "train" else 0.0
        start, end = self._start_time[stage], self._end_time[stage]
        if start is None:
            return offset
        return (time.monotonic() if end is None else end) - start + offset

    def time_remaining(self, stage: str = RunningStage.TRAINING) -> float | None:
        """How much of the duration is left, in seconds; negative once it is over, None if there is none."""
        return None if self._duration is None else self._duration - self.time_elapsed(stage)

    def on_fit_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Does not even begin if the time was used up before."""
        self._shared = trainer.world_size > 1
        self._deadline = float("inf") if self._duration is None else time.monotonic() + self._duration - self._offset
        if self._duration is not None:
            self._stop_if_over(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of training."""
        start = self._begin("train")
        if self._duration is not None:
            self._deadline = start + self._duration - self._offset

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock of training."""
        self._end_time["train"] = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of validation."""
        self._begin("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock of validation."""
        self._end_time["validate"] = time.monotonic()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of testing."""
        self._begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock of testing."""
        self._end_time["test"] = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops training if its time is up."""
        if self._shared:
            name = f"Timer {trainer.callbacks.index(self)}"
            if is_time(trainer, name, self._is_over):
                self._stop(trainer)
        elif self._is_over():
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops training if its time is up."""
        self._stop_if_over(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The time spent in each stage."""
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counts the time that was spent on training before."""
        self._offset = state_dict.get("time_elapsed", {}).get("train", 0.0)

    def _begin(self, stage: str) -> float:
        start = self._start_time[stage] = time.monotonic()
        self._end_time[stage] = None
        return start

    def _stop_if_over(self, trainer: Trainer) -> None:
        # Clocks differ: processes that did not agree on the last step would wait for each other for ever.
        if trainer.strategy.broadcast(self._is_over()):
            self._stop(trainer)

    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _stop(self, trainer: Trainer) -> None:
        if self._verbose and not trainer.should_stop:
            elapsed = timedelta(seconds=int(self.time_elapsed()))
            rank_zero_info(f"Time limit reached. Elapsed time is {elapsed}. Signaling Trainer to stop.")
        trainer.should_stop = True


def _checked(stage: str) -> str:
    value = getattr(stage, "value", stage)
    if value not in STAGES:
        raise MisconfiguredValue("A `Timer` knows the stages of a run.", got=stage, fix=f"One of {', '.join(STAGES)}.")
    return str(value)
