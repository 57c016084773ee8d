"""One epoch of training: the way of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.data.feed import Feed
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.watch import WatchedFeed


class EpochLoop:
    """Goes over the batches of one epoch.

    Args:
        fit_loop: The loop that owns this one, with what a step needs.
    """

    def __init__(self, fit_loop: FitLoop) -> None:
        self.fit_loop = fit_loop
        self.is_last_batch = False
        self.batch_idx = -1

    def run(self, feed: Feed | WatchedFeed) -> None:
        """Trains on every batch of a feed, and validates in between where it is due.

        Args:
            feed: The batches of the epoch.
        """
        fit = self.fit_loop
        trainer, hooks, progress, results, metrics = fit.trainer, fit.hooks, fit.progress, fit.results, fit.metrics
        optimization, rates, plan, transfer = fit.optimization, fit.rates, fit.validation_plan, fit.transfer
        scheduled = fit.schedules
        index = -1
        self.is_last_batch = False
        for batch in feed:
            index += 1
            self.batch_idx = index
            self.is_last_batch = last = index + 1 == feed.total
            if transfer is not None:
                batch = transfer(batch)
            results.begin_batch(batch, index)
            metrics.results, metrics.phase = results, "step"
            if hooks.on_train_batch_start(batch, index) == -1:
                self.is_last_batch = True
                if scheduled:
                    rates.step("step", False, index)
                    rates.step("epoch", False, progress.epoch)
                break
            outputs = optimization.step(batch, index, last)
            closed = optimization.closed
            if scheduled:
                self._step_schedulers(index, last)
            progress.batch = index + 1
            progress.batches += 1
            progress.epoch_done = last
            hooks.on_train_batch_end(outputs, batch, index)
            if closed and metrics.due_at(progress.windows):
                metrics.send_step()

            stopping = trainer.should_stop and fit.may_stop
            if plan.due(index, progress.batches - 1, progress.epoch, last, stopping):
                fit.validate()
            if rates.every_step_plateau and closed:
                rates.step("step", True, index)
            if closed:
                progress.windows += 1
            if stopping or progress.steps >= fit.last_step:
                break
            if trainer.should_stop and fit.may_stop:  # validation may have asked for it
                break
        else:
            if not self.is_last_batch:  # the loader gave less than it promised
                optimization.flush()
                fit.data.warn_if_short(index + 1)
        results.in_batch = False

    def _step_schedulers(self, index: int, last: bool) -> None:
        """Steps the schedulers that need no metric, before anybody hears of the batch's end."""
        fit = self.fit_loop
        if fit.optimization.closed and fit.rates.every_step:
            fit.rates.step("step", False, index)
        if last:
            fit.rates.step("epoch", False, fit.progress.epoch)

    @property
    def _batches_that_stepped(self) -> int:
        return self.fit_loop.progress.windows

    @property
    def total_batch_idx(self) -> int:
        """The number of the running batch in the whole run, from 0; -1 before the first."""
        return self.fit_loop.progress.batches - 1

    @property
    def global_step(self) -> int:
        """The number of optimizer steps taken."""
        return self.fit_loop.progress.steps

    @property
    def val_loop(self) -> Any:
        """The loop of validation inside `fit`."""
        return self.fit_loop.validation
