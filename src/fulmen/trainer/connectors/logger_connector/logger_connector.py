"""A Trainer's metrics and loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class _LoggerConnector:
    """What a Trainer has logged.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """The newest value of every logged key."""
        return self.trainer.callback_metrics

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """What went to the loggers."""
        return self.trainer.logged_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What the progress bar shows."""
        return self.trainer.progress_bar_metrics

    _callback_metrics = callback_metrics
    _logged_metrics = logged_metrics
    _progress_bar_metrics = progress_bar_metrics

    @property
    def should_update_logs(self) -> bool:
        """Whether the step values of the running window go to the loggers."""
        return self.trainer.should_log

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Sends numbers to every logger, and notes them as sent.

        Args:
            metrics: Numbers, or tensors with one element, by name; one of the name ``"step"`` is the step.
            step: The step they belong to; None for the present one.
        """
        if not metrics or not self.trainer.loggers:
            return
        self.trainer.logged_metrics.update(metrics)
        numbers = {key: value.item() if isinstance(value, Tensor) else value for key, value in metrics.items()}
        named = numbers.pop("step", None)
        if step is None and named is not None:
            step = int(named)
        if step is None:
            numbers.setdefault("epoch", self.trainer.current_epoch)
        self.trainer.log_metrics(numbers, step=step)
        for logger in self.trainer.loggers:
            logger.save()

    def reset_metrics(self) -> None:
        """Forgets all values."""
        self.trainer.metrics.reset()

    def reset_results(self) -> None:
        """Forgets what was logged in the pass that runs."""
        results = self.trainer.logbook.results
        if results is not None:
            results.reset()
