"""When learning rates change and when validation is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from fulmen.core.module import overridden
from fulmen.core.optimization import OptimizationMixin
from fulmen.data.pace import Pace
from fulmen.loops.metrics import Metrics
from fulmen.loops.progress import Progress
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from fulmen.core.module import LightningModule
    from fulmen.utilities.types import LRSchedulerConfig


Agree = Callable[[str, Any, bool], tuple[Any, list[int]]]
_ROUNDING = 1e-6


class LearningRates:
    """Steps the learning rate schedulers.

    Args:
        configs: The schedulers and when they step.
        module: Whose ``lr_scheduler_step`` is called where it is overridden.
        metrics: Where monitored values lie.
        progress: The counts of the run.
        agree: Finds the value to step by where processes may have other ones; None where there is one process.
    """

    def __init__(
        self,
        configs: Iterable[LRSchedulerConfig],
        module: LightningModule,
        metrics: Metrics,
        progress: Progress,
        agree: Agree | None = None,
    ) -> None:
        self.metrics = metrics
        self.agree = agree
        self.progress = progress
        self.module = module
        self._own_step = overridden(module, "lr_scheduler_step", OptimizationMixin)
        self._by_kind: dict[tuple[str, bool], tuple[LRSchedulerConfig, ...]] = {}
        configs = list(configs)
        for interval in ("step", "epoch"):
            for plateau in (False, True):
                self._by_kind[interval, plateau] = tuple(
                    c for c in configs if c.interval == interval and c.reduce_on_plateau == plateau
                )
        self.every_step = self._by_kind["step", False]
        self.every_step_plateau = self._by_kind["step", True]

    def step(self, interval: str, plateau: bool, index: int, idle: Collection[Optimizer] = ()) -> None:
        """Steps the schedulers of a kind that are due.

        Args:
            interval: ``"step"`` or ``"epoch"``.
            plateau: Those that need a metric, or those that do not.
            index: The running batch (for steps) or epoch, from 0.
            idle: The optimizers whose schedulers are left out.
        """
        for config in self._by_kind[interval, plateau]:
            if idle and getattr(config.scheduler, "optimizer", None) in idle:
                continue
            if (index + 1) % config.frequency == 0:
                self._step_one(config)

    def _step_one(self, config: LRSchedulerConfig) -> None:
        metric: Any = None
        if config.reduce_on_plateau:
            name, lacking = str(config.monitor), list[int]()
            metric = self.metrics.callback.get(name)
            if self.agree is not None:
                metric, lacking = self.agree(name, metric, config.interval == "epoch")
            if metric is None:
                _report_missing(config, sorted(self.metrics.callback), lacking)
                return
        self._step_with(config, metric)

    def _step_with(self, config: LRSchedulerConfig, metric: Any) -> None:
        self.progress.rates += 1
        if self._own_step is not None:
            self._own_step(config.scheduler, metric)
        elif metric is None:
            step: Callable[..., Any] = config.scheduler.step
            step()
        else:
            config.scheduler.step(metric)


def _report_missing(config: LRSchedulerConfig, available: list[str], lacking: list[int]) -> None:
    where = f" on rank {', '.join(map(str, lacking))}" if lacking else ""
    rule = f"The scheduler waits for the metric {config.monitor!r}, which was not logged yet{where}."
    fix = (
        f"Log it with `self.log({config.monitor!r}, value)` before the scheduler steps, set `monitor` to a metric "
        'that is there, or add `"strict": False` to the scheduler\'s dict to skip such steps.'
    )
    if config.strict:
        raise MisconfigurationException(rule, got=f"the metrics {available}", fix=fix)
    warn_once(f"{rule} Its step was skipped.")


class ValidationPlan:
    """Says after which training batches validation is due.

    Args:
        interval: Batches between validations; infinite: at the end of an epoch.
        every_n_epoch: In which epochs; None counts batches across epochs.
        seconds: Seconds between validations, in place of batches.
        enabled: Whether there is any validation.
        clock: What several processes go by, whose clocks differ; it is given what this one's says.
        pace: Where the number of processes changed in the epoch: how its batches go on to those that `interval` counts.
    """

    def __init__(
        self,
        interval: float,
        every_n_epoch: int | None,
        seconds: float | None = None,
        enabled: bool = True,
        pace: Pace | None = None,
        clock: Callable[[Callable[[], bool]], bool] | None = None,
    ) -> None:
        self.interval = interval
        self.every_n_epoch = every_n_epoch
        self.seconds = seconds
        self.enabled = enabled
        self.pace = pace
        self.clock = clock
        self._last = time.monotonic()

    def due(self, index: int, total_index: int, epoch: int, last: bool, stopping: bool) -> bool:
        """Whether validation comes after this batch.

        Args:
            index: The batch in the epoch, from 0.
            total_index: The batch in the run, from 0.
            epoch: The epoch, from 0.
            last: Whether the epoch ends with this batch.
            stopping: Whether training ends with this batch by request.
        """
        if not self.enabled:
            return False
        every = self.every_n_epoch
        if every is not None and (epoch + 1) % every:
            return False
        if stopping:
            return True
        if self.seconds is not None:
            return self._due_by_time()
        if self.interval == float("inf"):
            return last
        if self.pace is not None and every is not None:
            before, now = (int((self.pace.at(steps) + _ROUNDING) // self.interval) for steps in (index, index + 1))
            return now > before
        return ((total_index if every is None else index) + 1) % self.interval == 0

    def _due_by_time(self) -> bool:
        over = self._is_over() if self.clock is None else self.clock(self._is_over)
        if over:
            self._last = time.monotonic()
        return over

    def _is_over(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._last >= self.seconds
