"""Training: epochs, with validation in between."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch

from fulmen.core.module import LightningModule
from fulmen.data.epochs import set_epoch
from fulmen.data.feed import Feed
from fulmen.loops.by_rank import own_course
from fulmen.loops.course import dump_course, foreign_course, load_course, load_values, place_in_epoch, stopped_for_good
from fulmen.loops.describe import describe
from fulmen.loops.epoch import EpochLoop
from fulmen.loops.evaluate import EvaluationLoop
from fulmen.loops.feeding import make_feed
from fulmen.loops.forward import Forward
from fulmen.loops.inside import FitViews
from fulmen.loops.manual import Manual
from fulmen.loops.monitored import Monitored
from fulmen.loops.named import Named
from fulmen.loops.optimize import Automatic
from fulmen.loops.progress import Progress
from fulmen.loops.reduction import reduce_results
from fulmen.loops.results import Results
from fulmen.loops.schedule import LearningRates, ValidationPlan
from fulmen.loops.step_values import StepExchange
from fulmen.loops.training_data import TrainingData
from fulmen.loops.transfer import plan_transfer
from fulmen.loops.watch import WatchedFeed, watch, watch_feed, watch_training, watch_transfer
from fulmen.utilities.generations import taught
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.seed import isolate_rng
from fulmen.utilities.states import RunningStage

if TYPE_CHECKING:
    from fulmen.loops.ghosts import Ghosts
    from fulmen.trainer.trainer import Trainer


@taught
class FitLoop(FitViews):
    """Runs epochs until it is enough.

    Args:
        trainer: The Trainer.
        progress: The counts of the run.
        min_epochs: Epochs that are run even if somebody asks to stop.
        max_epochs: Epochs to run at most; -1 for no limit.
        min_steps: Optimizer steps that are taken even if somebody asks to stop.
        max_steps: Optimizer steps to take at most; -1 for no limit.
    """

    def __init__(
        self,
        trainer: Trainer,
        progress: Progress,
        min_epochs: int | None,
        max_epochs: int | None,
        min_steps: int | None,
        max_steps: int,
    ) -> None:
        self.trainer = trainer
        self.progress = progress
        self.min_epochs, self.max_epochs, self.min_steps, self.max_steps = min_epochs, max_epochs, min_steps, max_steps
        self.metrics = trainer.metrics
        self.data = TrainingData(trainer)
        self.epoch_loop = EpochLoop(self)
        self.validation = EvaluationLoop(trainer, "validate")
        self._said_not_yet = False
        self.validation_plan: ValidationPlan
        self.feed: Feed
        self.ghosts: Ghosts | None = None
        self.optimization: Automatic | Forward
        self.forward_only = False
        self.inherited: list[Any] | None = None
        self.resumed: dict[str, Any] | None = None
        self.resumed_validation: dict[str, Any] | None = None
        self.place_of_cut: dict[str, Any] | None = None

    def prepare(self) -> None:
        """Resolves what training needs, at the start of `fit`."""
        trainer = self.trainer
        module: LightningModule = trainer.lightning_module
        self.hooks = trainer.hooks
        strategy = trainer.strategy
        self.results = Results(module, True, strategy.root_device, strategy.global_rank, strategy.world_size)
        self.metrics.reduce_step = StepExchange(strategy).reduce if strategy.world_size > 1 else None
        kind = _kind_of(trainer, module)
        self.optimization = optimization = kind(trainer, module, trainer.hooks, trainer.logbook, self.progress)
        optimization.check()
        self.plan_rates()
        plan = watch_transfer(trainer, plan_transfer(module, trainer.datamodule, trainer.strategy, "train_dataloader"))
        self.transfer, self.device = plan.apply, plan.device
        watch_training(self)
        self.validation.prepare()
        self._said_not_yet = False
        if self.resumed is not None:
            self.resumed = own_course(self.resumed, trainer.global_rank, trainer.world_size)

    def plan_rates(self) -> None:
        """Resolves which schedulers step when; again, where a callback has put others in place."""
        trainer, module = self.trainer, self.trainer.lightning_module
        configs = trainer.lr_scheduler_configs if module.automatic_optimization else []
        agree = (
            Monitored(trainer.strategy, self.metrics, self.results).agree if trainer.strategy.world_size > 1 else None
        )
        self.rates = LearningRates(configs, module, self.metrics, self.progress, agree)
        self.schedules = bool(configs)

    def plan_steps(self) -> None:
        """Resolves what a step of the epoch is, which is none where a callback has set ``forward_only``."""
        inner = self.optimization.optimization if isinstance(self.optimization, Forward) else self.optimization
        self.optimization = Forward(inner) if self.forward_only else inner
        self.optimization.begin_epoch()

    def run(self) -> None:
        """Trains until an epoch, step or time limit is reached, or somebody asks to stop."""
        trainer, hooks, progress = self.trainer, self.hooks, self.progress
        if trainer.limit_train_batches == 0:
            return
        self._load(first=True)
        resumed, self.resumed, self.place_of_cut = self.resumed, None, None
        if resumed is not None:
            load_values(self, resumed)
            trainer.should_stop = resumed["should_stop"] and stopped_for_good(self)
        if progress.phase == "end":
            self._end_values()
        if progress.phase == "end" or (progress.epoch_done and progress.phase == "between"):
            progress.next_epoch()
        if self.data.max_batches == 0:
            rank_zero_warn(
                "The training loader has no batches, so nothing is trained. Look at the length of its data set, and at "
                "`drop_last` with a batch size above that length."
            )
            return
        if self.is_over(self.progress.epoch) and not self._owes:
            if resumed is not None:
                self._end_cut(resumed)
                load_course(self, resumed)
                rank_zero_info(
                    f"The run of this checkpoint has come to its end ({progress.epoch} epochs, {progress.steps} steps"
                    f"{', by early stopping' if trainer.should_stop else ''}): nothing is left to train."
                )
            return
        trainer.logbook.open(self.results)
        self.metrics.watch(self.results, "epoch")
        hooks.on_train_start()
        if resumed is not None:
            load_course(self, resumed)
        while self._owes or not self.is_over(self.progress.epoch):
            if progress.phase == "between":
                batches = self._open_epoch()
            else:
                batches = self._reopen_epoch(resumed or foreign_course(self))
            with closing(self.feed):
                watch(trainer, "run_training_epoch", self.epoch_loop.run)(batches)
            self._end_epoch()
            if trainer.strategy.peers is not None:
                trainer.signals.check(trainer, (progress.batches, 3))
            progress.next_epoch()
        trainer.logbook.open(None)
        hooks.on_train_end()

    def _end_cut(self, resumed: dict[str, Any]) -> None:
        """Ends an epoch that was cut short, where the run does not go on with it after all."""
        if self.progress.phase == "ready":
            self.place_of_cut = {name: resumed[name] for name in ("progress", "feed", "results")}
            if resumed.get("results_at_end") is not None:  # with what was logged at its end
                load_values(self, {**resumed, "results": resumed["results_at_end"]})
            self._end_values()
            self.progress.next_epoch()

    @property
    def _owes(self) -> bool:
        """Whether a batch of an earlier run still waits for what follows on it, whatever the limits say."""
        return self.progress.phase in ("batch", "validation", "validated")

    def _open_epoch(self) -> Feed | WatchedFeed:
        """The batches of a new epoch, after what comes before its first."""
        self._begin_epoch()
        self.hooks.on_train_epoch_start()
        self.progress.begin_epoch()
        self.plan_steps()
        return self._make_feed(None)

    def _reopen_epoch(self, resumed: dict[str, Any]) -> Feed | WatchedFeed:
        """The batches that are left of an epoch that an earlier run began.

        Args:
            resumed: Where that run was.
        """
        trainer = self.trainer
        set_epoch(self.data.loader, self.progress.epoch)
        self.plan_steps()
        self.optimization.load_state_dict(resumed.get("optimization", {}))
        trainer.should_stop = resumed.get("should_stop", False)
        self.resumed_validation = resumed.get("validation")
        trainer.logbook.open(self.results)
        self.metrics.watch(self.results, "step" if self.progress.batch else "epoch")
        ranks = {"ranks": resumed["feeds"]} if "feeds" in resumed else {}
        batches = self._make_feed({**resumed["feed"], **ranks})
        if self.feed.shift:
            self.validation_plan = self.data.begin_rest(self.feed, self.validation_plan)
        if self.feed.begun >= self.feed.total:  # the loader, or the limit, is shorter now
            self.progress.epoch_done = True
        return batches

    def _make_feed(self, saved: dict[str, Any] | None) -> Feed | WatchedFeed:
        self.feed, self.ghosts = make_feed(self, saved)
        return watch_feed(self.trainer, "[_TrainingEpochLoop].train_dataloader_next", self.feed)

    def state_dict(self) -> dict[str, Any]:
        """Where the run is; see :mod:`fulmen.loops.course`."""
        return dump_course(self)

    def default_limit(self) -> None:
        """Sets an end to training where nobody did."""
        if self.max_epochs is None:
            rank_zero_warn(
                "Neither `max_epochs` nor `max_steps` nor `max_time` is set, so training ends after 1000 epochs. Set "
                "`Trainer(max_epochs=-1)` to train without end."
            )
            self.max_epochs = 1000

    @property
    def is_without_batch(self) -> bool:
        """Whether hooks are called for a batch of other processes, while this one has none."""
        return self.ghosts is not None and not self.ghosts.here

    @property
    def last_step(self) -> float:
        """The number of optimizer steps after which training ends."""
        return float("inf") if self.max_steps == -1 else self.max_steps

    @property
    def may_stop(self) -> bool:
        """Whether the minimum of epochs and steps is met, so that a request to stop is heard."""
        epochs, steps = self.min_epochs or 0, self.min_steps or 0
        enough = self.progress.epoch >= epochs and self.progress.steps >= steps
        if self.trainer.should_stop and not enough and not self._said_not_yet:
            self._said_not_yet = True
            rank_zero_info(
                f"Something asked to stop training, but min_epochs={epochs} or min_steps={steps} is not met yet: "
                "training goes on."
            )
        return enough

    @property
    def done(self) -> bool:
        """Whether training has come to its end; an epoch counts once its last batch is behind it."""
        return self.is_over(self.progress.epoch + (self.progress.phase == "end"))

    def is_over(self, epochs: int) -> bool:
        """Whether training ends after so many epochs."""
        if self.progress.steps >= self.last_step:
            return True
        if self.max_epochs is not None and self.max_epochs != -1 and epochs >= self.max_epochs:
            return True
        return self.trainer.should_stop and self.may_stop

    def _load(self, first: bool = False) -> None:
        """Gets the loaders, where they are not there or are to be made anew."""
        if self.data.load() or first:
            in_this_epoch = (self.progress.epoch + 1) % (self.trainer.check_val_every_n_epoch or 1) == 0
            # a run that goes on gives its loaders back what they remember
            known = self.resumed is not None and bool(self.resumed["val_loaders"])
            if first and self.trainer.enable_validation and (in_this_epoch or known):
                self.load_validation()
            if self.data.max_batches:
                self.validation_plan = self.data.validation_plan(self.trainer.enable_validation)

    def load_validation(self) -> None:
        """Gets the validation loaders.

        What their hook draws at random does not reach training, with or without a sanity check.
        """
        trainer = self.trainer
        before = trainer.state.stage
        if before == RunningStage.TRAINING:
            trainer.state.stage = RunningStage.VALIDATING
        on_device = trainer.strategy.root_device.type != "cpu"
        with isolate_rng(include_cuda=on_device), torch.set_grad_enabled(before == RunningStage.TRAINING):
            self.validation.data.load()
        self.validation.step_function()  # complains now, before training, if it cannot take what it will get
        trainer.state.stage = before

    def _begin_epoch(self) -> None:
        """What happens before an epoch's first event."""
        trainer, progress = self.trainer, self.progress
        self._load(first=False)
        if self.data.end_rest():
            self.validation_plan = self.data.validation_plan(trainer.enable_validation)
        set_epoch(self.data.loader, progress.epoch)
        progress.batch = 0
        progress.epoch_done = False
        self.place_of_cut = None
        self.metrics.watch(self.results, "epoch")  # until the first batch
        trainer.logbook.open(self.results)

    def _end_epoch(self) -> None:
        """What happens after an epoch's last batch."""
        self.metrics.settle()
        self.optimization.end_epoch()
        if self.ghosts is not None:
            self.ghosts.end_epoch()
        if self.epoch_loop.cut_short:
            self.place_of_cut = place_in_epoch(self)
        self.progress.phase = "end"
        self.metrics.watch(self.results, "epoch")
        self.reduce_values(last=False)
        self.hooks.on_train_epoch_end()
        self._end_values()

    def reduce_values(self, last: bool = True) -> None:
        """Makes the epoch's values those of all processes.

        Args:
            last: Whether nothing will be logged any more.
        """
        strategy = self.trainer.strategy
        if strategy.world_size > 1:
            rounds, ghosts = self.progress.batch, self.ghosts
            batches: dict[int | None, int] = {None: rounds if ghosts is None else ghosts.feed.own_of(rounds)}
            reduce_results(strategy, self.results, batches, last=last)

    def _end_values(self) -> None:
        """What becomes of an epoch's values, once a checkpoint could have been written."""
        trainer, metrics, results, progress = self.trainer, self.metrics, self.results, self.progress
        self.reduce_values()
        values = metrics.collect(results.entries(), on_step=False, training=True)
        if progress.epoch_done:
            self.rates.step("epoch", True, progress.epoch)
        metrics.send(values, max(progress.windows - 1, 0))
        metrics.watch(None)
        results.reset()
        trainer.logbook.open(results)

    def validate(self, resumed: bool = False) -> None:
        """Validates in the middle of training, and goes back to it.

        Args:
            resumed: Whether to go on with a validation that an earlier run left.
        """
        trainer, results, book = self.trainer, self.results, self.trainer.logbook
        trainer.state.stage = RunningStage.VALIDATING
        self.metrics.settle()
        book.open(None)
        if self.optimization.closed and not resumed:
            trainer.lightning_module.on_validation_model_zero_grad()
        trainer.strategy.sync_buffers()
        self.validation.run(self.resumed_validation if resumed else None)
        self.progress.phase = "validated"
        self.resumed_validation = None
        trainer.state.stage = RunningStage.TRAINING
        book.open(results)

    def share_buffers(self) -> None:
        """Gives all processes the buffers of one that has had a batch, where not all have."""
        if self.ghosts is not None:
            self.ghosts.share_buffers()

    def __str__(self) -> str:
        return describe(self)

    # Views under the names by which other code knows this loop.

    @property
    def current_epoch(self) -> int:
        """Epochs that are complete."""
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""
        return self.progress.steps

    @property
    def max_batches(self) -> int | float:
        """Batches in an epoch."""
        return self.data.max_batches


def _kind_of(trainer: Trainer, module: LightningModule) -> type[Automatic]:
    kind: type[Automatic] | None = module.__dict__.get("_optimization_kind")
    if kind is not None:
        return kind
    if not module.automatic_optimization:
        return Manual
    return Named if trainer.strategy._optimizer_names else Automatic
