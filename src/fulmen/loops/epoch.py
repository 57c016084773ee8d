"""One epoch of training: the way of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.loops.inside import EpochViews
from fulmen.utilities.generations import taught

if TYPE_CHECKING:
    from fulmen.data.feed import Feed
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.watch import WatchedFeed


@taught
class EpochLoop(EpochViews):
    """Goes over the batches of one epoch.

    Args:
        fit_loop: The loop that owns this one, with what a step needs.
    """

    def __init__(self, fit_loop: FitLoop) -> None:
        self.fit_loop = fit_loop
        self.is_last_batch = False
        self.cut_short = False
        self.batch_idx = -1

    def run(self, feed: Feed | WatchedFeed) -> None:
        """Trains on every batch of a feed, and validates in between where it is due.

        Args:
            feed: The batches of the epoch, or those that are left of it.
        """
        fit = self.fit_loop
        trainer, hooks, progress, results, metrics = fit.trainer, fit.hooks, fit.progress, fit.results, fit.metrics
        optimization, transfer, signals = fit.optimization, fit.transfer, trainer.signals
        scheduled, ghosts, together = fit.schedules, fit.ghosts, trainer.strategy.world_size > 1
        index = self.batch_idx = progress.batch - 1
        self.is_last_batch = progress.epoch_done
        self.cut_short = self._is_over()
        if self.cut_short:
            self.cut_short = not self.is_last_batch
            return
        for batch in feed:
            index += 1
            self.batch_idx = index
            self.is_last_batch = last = index + 1 == feed.total
            progress.phase = "step"
            if ghosts is None or ghosts.begin_round(batch, index):
                if transfer is not None:
                    batch = transfer(batch)
                results.begin_batch(batch, index)
            shown = batch if ghosts is None else ghosts.shown(batch)
            metrics.results, metrics.phase = results, "step"
            if hooks.on_train_batch_start(shown, index) == -1:
                self._leave_early(index)
                break
            outputs = optimization.step(batch, index, last)
            if together:
                metrics.share_step()
            if scheduled:
                self._step_schedulers(index, last)
            progress.batch = index + 1
            progress.batches += 1
            progress.epoch_done = last
            progress.phase = "batch"
            hooks.on_train_batch_end(outputs, shown, index)
            if results.syncs or results.some_out:
                metrics.share_step(late=True)
            if optimization.closed and metrics.due_at(progress.windows):
                metrics.send_step()
            hooks.after_train_batch(outputs, shown, index)
            if ghosts is not None:
                ghosts.end_round()
            if together or signals.received:
                signals.check(trainer, (progress.batches, 0))
            if self._finish_batch(index, last):
                self.cut_short = not last
                break
        else:
            self._end_of_data(index)
        results.in_batch = False

    def _end_of_data(self, index: int) -> None:
        """Uses what is left of a window, where the loader gave less than it promised."""
        if not self.is_last_batch:
            self.fit_loop.optimization.flush()
            self.fit_loop.data.warn_if_short(index + 1)

    def _is_over(self) -> bool:
        """Does what a batch of an earlier run still waits for.

        Returns:
            Whether the epoch ends with that.
        """
        progress = self.fit_loop.progress
        if progress.phase in ("batch", "validation", "validated"):
            return self._finish_batch(progress.batch - 1, progress.epoch_done)
        return False

    def _finish_batch(self, index: int, last: bool) -> bool:
        """What follows on a batch, once a checkpoint could have been written.

        Returns:
            Whether training leaves the epoch.
        """
        fit = self.fit_loop
        trainer, progress, closed = fit.trainer, fit.progress, fit.optimization.closed
        stopping = trainer.should_stop and fit.may_stop
        if progress.phase != "validated":
            resumed = progress.phase == "validation"
            if resumed or fit.validation_plan.due(index, progress.batches - 1, progress.epoch, last, stopping):
                fit.validate(resumed)
                trainer.signals.check(trainer, (progress.batches, 2))
        if fit.rates.every_step_plateau and closed:
            fit.rates.step("step", True, index, fit.optimization.idle)
        if closed:
            progress.windows += 1
        progress.phase = "ready"
        # validation may have asked to stop
        return stopping or progress.steps >= fit.last_step or (trainer.should_stop and fit.may_stop)

    def _leave_early(self, index: int) -> None:
        """Ends the epoch because somebody asked for it at the start of a batch."""
        fit = self.fit_loop
        if fit.ghosts is not None:
            fit.ghosts.end_round()
        self.is_last_batch = True
        if fit.schedules:
            fit.rates.step("step", False, index)
            fit.rates.step("epoch", False, fit.progress.epoch)

    def _step_schedulers(self, index: int, last: bool) -> None:
        """Steps the schedulers that need no metric, before anybody hears of the batch's end."""
        fit = self.fit_loop
        if fit.optimization.closed and fit.rates.every_step:
            fit.rates.step("step", False, index, fit.optimization.idle)
        if last:
            fit.rates.step("epoch", False, fit.progress.epoch)

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
