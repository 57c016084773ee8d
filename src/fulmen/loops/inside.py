"""What code around Fulmen finds inside the loops under the names it knows: views, made for who asks.

The counts are those of `Progress`; what is set here is set there. Nothing in the loops reads a view.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from fulmen.loops.counts import (
    BatchCounts,
    CountsView,
    EpochCounts,
    OptimizationCounts,
    PassCounts,
    RateCounts,
    StepCounts,
)
from fulmen.loops.source_view import SourceView
from fulmen.utilities.combined_loader import CombinedLoader

if TYPE_CHECKING:
    from fulmen.loops.epoch import EpochLoop
    from fulmen.loops.evaluate import EvaluationLoop, LoaderSet
    from fulmen.loops.fit import FitLoop
    from fulmen.loops.progress import Progress
    from fulmen.loops.results import Results
    from fulmen.loops.training_data import TrainingData
    from fulmen.trainer.trainer import Trainer


def combined(loaders: Any, mode: Any, limits: Any) -> CombinedLoader | None:
    """A stage's loaders as one; None as long as there are none."""
    if loaders is None or loaders == []:
        return None
    one = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, mode)
    one.limits = limits
    return one


class LoaderViews:
    """Where a loop's loaders come from, and the loaders."""

    trainer: Trainer
    data: Any
    restarting = False
    _mode: Any = "sequential"

    @cached_property
    def _source_view(self) -> SourceView:
        return SourceView(self.data)

    @property
    def _data_source(self) -> SourceView:
        """Where the loaders come from; to set it, or its ``instance``, has them come from there."""
        return self._source_view

    @_data_source.setter
    def _data_source(self, source: Any) -> None:
        self._source_view.instance = source.instance

    @property
    def _combined_loader(self) -> CombinedLoader | None:
        """The loaders; None before they are there. To set it to None has them made anew at the next chance."""
        limits = self.data.max_batches
        limits = limits if isinstance(limits, list) else [limits]
        return combined(getattr(self.data, "loaders", None) or getattr(self.data, "loader", None), self._mode, limits)

    @_combined_loader.setter
    def _combined_loader(self, loader: Any) -> None:
        if loader is not None:
            self._source_view.instance = loader
        self.data.loaded_at = None

    def setup_data(self) -> None:
        """Gets the loaders, where they are not there or are to be made anew."""
        self.data.load()


class FitViews(LoaderViews):
    """What is found in the loop of `fit`."""

    _mode = "max_size_cycle"
    if TYPE_CHECKING:
        progress: Progress
        epoch_loop: EpochLoop
        results: Results
        data: TrainingData

        @property
        def done(self) -> bool: ...

        def _load(self, first: bool = False) -> None: ...

    @cached_property
    def epoch_progress(self) -> CountsView:
        """The epochs of the run: ``current`` since it began, or since ``reset``, and in ``total``."""
        return CountsView(EpochCounts(self))

    def setup_data(self) -> None:
        """Gets the loaders, where they are not there or are to be made anew."""
        self._load()

    @property
    def _results(self) -> Results | None:
        return getattr(self, "results", None)

    @property
    def total_batch_idx(self) -> int:
        """The number of the running batch in the whole run, from 0; -1 before the first."""
        return self.epoch_loop.total_batch_idx

    @property
    def batch_idx(self) -> int:
        """The number of the running batch in its epoch."""
        return self.epoch_loop.batch_idx

    @property
    def skip(self) -> bool:
        """Whether there is nothing to run."""
        return self.done or self.trainer.limit_train_batches == 0

    def _should_accumulate(self) -> bool:
        return self.epoch_loop._should_accumulate()


class _Own:
    """The part of the epoch's loop that one way of optimizing counts in."""

    def __init__(self, fit_loop: FitLoop) -> None:
        self.optim_progress = OptimizationCounts(fit_loop)
        self.optim_step_progress = CountsView(StepCounts(fit_loop))


class EpochViews:
    """What is found in the loop of an epoch."""

    fit_loop: FitLoop
    restarting = False

    @cached_property
    def batch_progress(self) -> CountsView:
        """The batches, ``current`` in the epoch and in ``total``."""
        return CountsView(BatchCounts(self.fit_loop))

    @cached_property
    def scheduler_progress(self) -> CountsView:
        """The steps of learning rate schedulers, ``current`` in the epoch and in ``total``."""
        return CountsView(RateCounts(self.fit_loop))

    @cached_property
    def _own(self) -> _Own:
        return _Own(self.fit_loop)

    @property
    def automatic_optimization(self) -> _Own:
        """Where optimizer steps are counted; what is set there becomes ``trainer.global_step``."""
        return self._own

    manual_optimization = automatic_optimization

    @property
    def _batches_that_stepped(self) -> int:
        return self.fit_loop.progress.windows

    @_batches_that_stepped.setter
    def _batches_that_stepped(self, windows: int) -> None:
        self.fit_loop.progress.windows = windows

    @property
    def max_steps(self) -> int:
        """Optimizer steps to take at most; -1 for no limit."""
        return self.fit_loop.max_steps

    @max_steps.setter
    def max_steps(self, steps: int) -> None:
        self.fit_loop.max_steps = steps

    @property
    def min_steps(self) -> int | None:
        """Optimizer steps to take at least."""
        return self.fit_loop.min_steps

    @min_steps.setter
    def min_steps(self, steps: int | None) -> None:
        self.fit_loop.min_steps = steps

    @property
    def _results(self) -> Results | None:
        return self.fit_loop._results

    def _num_ready_batches_reached(self) -> bool:
        fit = self.fit_loop
        return fit.progress.epoch_done or self.batch_progress.current.ready >= fit.max_batches

    def _accumulated_batches_reached(self) -> bool:
        every = self.fit_loop.trainer.accumulate_grad_batches
        return self.batch_progress.current.ready % every == 0

    def _should_accumulate(self) -> bool:
        """Whether the running batch leaves the weights alone."""
        return not (self._accumulated_batches_reached() or self._num_ready_batches_reached())


class PassViews(LoaderViews):
    """What is found in a loop that goes once over its loaders."""

    if TYPE_CHECKING:
        data: LoaderSet

        @property
        def max_batches(self) -> list[int | float]: ...

    @cached_property
    def batch_progress(self) -> CountsView:
        """The batches, of the running loader and in all."""
        return CountsView(PassCounts(self))

    @property
    def num_dataloaders(self) -> int:
        """How many loaders there are."""
        return len(self.data.loaders)

    @property
    def skip(self) -> bool:
        """Whether there is nothing to run."""
        return sum(self.max_batches) == 0


class EvaluationViews(PassViews):
    """What is found in the loop of validation and test."""

    if TYPE_CHECKING:
        results: Results | None

    @property
    def _results(self) -> Results | None:
        return self.results

    @property
    def _has_run(self) -> bool:
        loop: EvaluationLoop = self  # type: ignore[assignment]
        return loop.batches_done > 0
