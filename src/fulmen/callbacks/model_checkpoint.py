"""Writes checkpoints while training: the best by a metric, and the last."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from fulmen.callbacks import checkpoint_files as files
from fulmen.callbacks.checkpoint_name import metrics_in
from fulmen.callbacks.checkpoint_naming import Candidates
from fulmen.callbacks.checkpoint_options import read_triggers
from fulmen.callbacks.checkpoint_store import CheckpointStore
from fulmen.callbacks.clock import is_time
from fulmen.callbacks.emergency import finish_earlier_save, fresh_path, is_broken, place_of
from fulmen.callbacks.monitor import advice_for_missing, show, warn_of_nothing_saved
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import taught
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn, warn_once

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


@taught
class ModelCheckpoint(CheckpointStore):
    """Saves checkpoints while training, by default the newest at the end of each epoch.

    **A file holds exactly the weights that earned the metric it is kept and named for.** Where a save is due but
    the value of `monitor` was made by older weights (say, every hundred steps a save, every thousand a validation),
    the save waits for the next validation or the end of the epoch, whichever brings a new value, and then saves the
    weights of that moment. Several saves that come due meanwhile are one. Without `monitor`, a save waits in the same
    way for the metrics named in `filename`, but no longer than one epoch; a metric that is older than the weights
    is then shown as ``none``. The last checkpoint waits for nothing.

    Args:
        dirpath: The folder. None for ``checkpoints`` in the folder of the first logger's run, or in
            ``Trainer(default_root_dir=...)`` if there is no logger.
        filename: A template such as ``"{epoch:02d}-{val_loss:.2f}"``; None for ``"{epoch}-{step}"``.
        monitor: The metric that ranks checkpoints. None keeps the newest.
        verbose: Whether to log what is saved and what is not.
        save_last: Whether to keep the newest weights as ``last.ckpt`` too, written each time a save is due;
            ``"link"`` makes that a link to the checkpoint saved last.
        save_top_k: How many of the best to keep; -1 keeps all, 0 none.
        save_on_exception: Whether to save when training ends with an exception. With several processes nothing is
            saved then: what is left of a group is not the whole of a run.
        save_weights_only: Whether to leave out everything but the weights and the hyper-parameters.
        mode: ``"min"`` if smaller is better, ``"max"`` if greater is.
        auto_insert_metric_name: Whether ``{val_loss}`` in `filename` becomes ``val_loss=0.12``, or only ``0.12``.
            Turn it off for metrics with a ``/`` in their names.
        every_n_train_steps: Save every so many optimizer steps. Excludes the other two triggers.
        train_time_interval: Save after so much time, at the end of the batch. Excludes the other two.
        every_n_epochs: Save every so many epochs; 0 never. This is the trigger if none is given.
        save_on_train_epoch_end: Whether `every_n_epochs` saves at the end of a training epoch; False saves at the end
            of a validation. None saves at the end of a training epoch where each of them ends with a validation, or
            there is none at all.
        enable_version_counter: Whether a name that is taken gets a ``-v1``; otherwise the file is overwritten.

    Attributes:
        best_model_path: The best checkpoint, or the newest without `monitor`.
        best_model_score: Its score.
        best_k_models: Paths and scores of all that are kept.
        kth_best_model_path: The worst of them.
        kth_value: Its score.
        current_score: The score of the one saved last.
        last_model_path: The file that `save_last` writes.

    Raises:
        MisconfigurationException: If arguments make no sense or exclude each other, or in training if `monitor` is
            not logged.

    Example:
        >>> checkpoint = ModelCheckpoint(monitor="val_loss", filename="{epoch:02d}-{val_loss:.2f}", save_top_k=3)
        >>> checkpoint.every_n_epochs
        1
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            save_last=save_last,
            save_weights_only=save_weights_only,
            auto_insert_metric_name=auto_insert_metric_name,
            enable_version_counter=enable_version_counter,
            verbose=verbose,
        )
        self.save_on_exception = save_on_exception
        self._save_on_train_epoch_end = save_on_train_epoch_end
        triggers = read_triggers(every_n_train_steps, every_n_epochs, train_time_interval)
        self._every_n_train_steps, self._every_n_epochs, self._train_time_interval = triggers
        self._forget_run()

    def _forget_run(self) -> None:
        self._awaited: tuple[str, ...] = ()  # the metrics that a save which is due waits for
        self._polls = self._validated = False
        self._due_since_epoch = 0
        self._evaluated_at = [-1, -1]  # the steps of the last validation and the last end of an epoch
        self._last_step_due = self._last_global_step_saved = self._last_file_step = 0
        self._newest_path = ""
        self._newest_place: tuple[Any, ...] = ()
        self._last_time_checked = time.monotonic()

    @property
    def every_n_epochs(self) -> int | None:
        """Every how many epochs a save is due; 0 if something else triggers saves."""
        return self._every_n_epochs

    @property
    def state_key(self) -> str:
        """The class with the metric, its direction and the trigger."""
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._every_n_train_steps,
            every_n_epochs=self._every_n_epochs,
            train_time_interval=self._train_time_interval,
        )

    def state_dict(self) -> dict[str, Any]:
        """The ranking, where the files lie, and whether a save that is due waits for a metric."""
        state = super().state_dict()
        if self._awaited:
            state["awaited"] = list(self._awaited)
        if self._interim:
            state["interim"] = list(self._interim)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        super().load_state_dict(state_dict)
        self._awaited = tuple(state_dict.get("awaited", ()))
        self._interim = list(state_dict.get("interim", ()))

    def listens_to(self, event: str) -> bool:
        """Batches matter only where steps or time trigger saves."""
        return event != "on_train_batch_end" or bool(self._every_n_train_steps or self._train_time_interval is not None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds the folder, and clears it of what a killed run left half written."""
        self.dirpath = trainer.strategy.broadcast(self.__resolve_ckpt_dir(trainer))
        if stage != "fit":
            return
        self._forget_run()
        if trainer.is_global_zero and not trainer.fast_dev_run:
            files.clean(self.dirpath, depth=self._template.count("/"))
        writes, resumed = self.save_top_k != 0 and not trainer.fast_dev_run, trainer.ckpt_path
        expected = resumed is not None and files.lies_below(resumed, self.dirpath)  # the run goes on there
        if trainer.is_global_zero and writes and not expected:
            self.__warn_if_dir_not_empty(self.dirpath)

    def __resolve_ckpt_dir(self, trainer: Trainer) -> str:
        return self.dirpath or self._default_dirpath(trainer)

    def __warn_if_dir_not_empty(self, dirpath: str) -> None:
        if files.names_in(dirpath):
            rank_zero_warn(f"The folder of checkpoints {dirpath} is not empty.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts to count."""
        self._last_time_checked = time.monotonic()
        self._last_step_due = trainer.global_step
        self._due_since_epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves, if steps or time say so."""
        step = trainer.global_step
        if step != self._last_step_due and self._is_due(trainer, step):
            self._last_step_due = step
            self._trigger(trainer)
        elif self._polls and trainer.metric_step(self._awaited[0]) == step:
            self._attempt(trainer)
        elif self._in_flight:
            self._settle(trainer, wait=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, if this is where epochs trigger saves or a save waits for a metric."""
        if self._skips(trainer):
            return
        self._validated = True
        self._evaluated_at[0] = trainer.global_step
        self._end(trainer, due=not self._should_save_on_train_epoch_end(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, if this is where epochs trigger saves or a save waits for a metric."""
        if self._skips(trainer):
            return
        self._evaluated_at[1] = trainer.global_step
        self._end(trainer, due=self._should_save_on_train_epoch_end(trainer), epoch_end=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sees to it that no save is lost: what still waits for a metric is kept as the last checkpoint."""
        if self._passes_over(trainer):
            return
        waiting, self._awaited, self._polls = self._awaited, (), False
        if waiting and self.monitor is None:
            self._save(trainer, self._monitor_candidates(trainer))
        elif waiting and not self.best_model_path:
            warn_of_nothing_saved(trainer, str(self.monitor))
        missing = self.save_last is True or waiting or not self._last_file_step
        if self.save_last and missing and trainer.global_step != self._last_file_step:
            self._save_last(trainer)
            self._let_go(trainer)
        self._settle(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves what would be lost, if that is wanted."""
        try:
            self._settle(trainer)
        except Exception as failure:  # that of training is the one to be seen, and another save may do better
            rank_zero_warn(f"When training ended with a {type(exception).__name__}, a save was under way. {failure}")
        step = trainer.global_step
        saved = step in (0, self._last_global_step_saved, self._last_file_step)
        if not self.save_on_exception or saved or self._passes_over(trainer) or self._is_saved(trainer):
            return
        if is_broken(trainer):
            return
        path = self._free_path(trainer, self._template, own=None)
        what = f"After a {type(exception).__name__} ({exception}), a checkpoint"
        try:
            self._save_checkpoint(trainer, path)
            self._last_checkpoint_saved = path
            if self.save_last:
                self._save_last(trainer)
            self._settle(trainer)
        except Exception as failure:  # the exception that ended training is the one to be seen
            rank_zero_warn(f"{what} could not be saved to {path}: {failure!r}")
        else:
            rank_zero_info(f"{what} was saved to {path}.")

    def save_now(self, trainer: Trainer) -> str:
        """Saves everything that training needs to go on from here, whatever is due.

        The file has a name of its own and no part in the ranking, and nothing of that is removed for it. It goes when
        the run that goes on from it has written another one. The last checkpoint is brought up to date, where there is
        one. Nothing is written where the newest file holds this very state.

        Args:
            trainer: The Trainer, at the end of a step.

        Returns:
            The path of the file.
        """
        finish_earlier_save(trainer)
        if self._is_saved(trainer) and self.file_exists(self._newest_path, trainer):
            return self._newest_path
        path = fresh_path(self, trainer)
        chosen, self.save_weights_only = self.save_weights_only, False
        before, self._interim = self._interim, [*self._interim, path]  # the file says itself what it is
        try:
            self._save_checkpoint(trainer, path)
        except BaseException:
            self._interim = before
            raise
        finally:
            self.save_weights_only = chosen
        self._last_checkpoint_saved = path
        if self.save_last:
            self._save_last(trainer)
        self._settle(trainer)
        self._interim = before
        self._let_go(trainer)
        self._interim = [path]
        self._remove_obsolete(trainer)
        return path

    def _let_go(self, trainer: Trainer) -> None:
        """Gives up what was saved because a signal ended a run: there is a newer file to go on from."""
        own = {*self.best_k_models, self.best_model_path, self.last_model_path}
        for path in self._interim:
            if path not in own:  # a file of ours may have taken its name
                self._retire(trainer, path, self._newest_path)
        self._interim = []

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if not self.save_weights_only:
            self._newest_path, self._newest_place = filepath, place_of(trainer)

    def _is_saved(self, trainer: Trainer) -> bool:
        """Whether the newest file holds everything as it is."""
        return self._newest_place == place_of(trainer)

    @staticmethod
    def _passes_over(trainer: Trainer) -> bool:
        return bool(trainer.state.fn != "fit" or trainer.sanity_checking or trainer.fast_dev_run)

    def _should_skip_saving_checkpoint(self, trainer: Trainer) -> bool:
        return self._passes_over(trainer) or self._last_global_step_saved == trainer.global_step

    def _skips(self, trainer: Trainer) -> bool:
        """Whether nothing may be saved here; what is saved already is looked at later, unless a library decides."""
        own = type(self)._should_skip_saving_checkpoint is ModelCheckpoint._should_skip_saving_checkpoint
        return self._passes_over(trainer) if own else self._should_skip_saving_checkpoint(trainer)

    def _should_save_on_train_epoch_end(self, trainer: Trainer) -> bool:
        if self._save_on_train_epoch_end is not None:
            return self._save_on_train_epoch_end
        if not trainer.enable_validation:
            return True
        return trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0

    def _is_due(self, trainer: Trainer, step: int) -> bool:
        if self._every_n_train_steps:
            return step % self._every_n_train_steps == 0
        if self._train_time_interval is None:
            return False
        over = is_time(trainer, self.state_key, self._is_time_over)
        if over:
            self._last_time_checked = time.monotonic()
        return over

    def _is_time_over(self) -> bool:
        assert self._train_time_interval is not None
        return time.monotonic() - self._last_time_checked >= self._train_time_interval.total_seconds()

    def _end(self, trainer: Trainer, due: bool, epoch_end: bool = False) -> None:
        """The end of a validation or an epoch."""
        if self._in_flight:
            self._settle(trainer, wait=False)
        every = self._every_n_epochs
        if due and every and (trainer.current_epoch + 1) % every == 0:
            self._trigger(trainer, epoch_end)
        elif self._awaited and not self._attempt(trainer, epoch_end) and epoch_end:
            self._complain_if_missing(trainer, epoch_end)

    def _trigger(self, trainer: Trainer, epoch_end: bool = False) -> None:
        """A save is due: does it, or lets it wait."""
        if self._skips(trainer):
            return
        if not self._awaited:
            self._due_since_epoch = trainer.current_epoch
        if self._attempt(trainer, epoch_end):
            return
        self._complain_if_missing(trainer, epoch_end)
        made_at = trainer.metric_step(self._awaited[0])
        self._polls = made_at is not None and made_at not in self._evaluated_at
        if self.save_last is True and trainer.global_step != self._last_file_step:
            self._save_last(trainer)
            self._remove_obsolete(trainer)

    def _attempt(self, trainer: Trainer, epoch_end: bool = False) -> bool:
        """Saves, unless a metric is older than the weights."""
        candidates = self._monitor_candidates(trainer)
        self._awaited = self._stale_metrics(trainer, candidates, epoch_end)
        if self._awaited:
            return False
        self._polls = False
        self._save(trainer, candidates)
        return True

    def _stale_metrics(self, trainer: Trainer, candidates: Candidates, epoch_end: bool) -> tuple[str, ...]:
        if self.save_top_k == 0:
            return ()
        if self.monitor is not None:
            return () if self._is_fresh(trainer, self.monitor, candidates) else (self.monitor,)
        if epoch_end and trainer.current_epoch > self._due_since_epoch:
            return ()
        stale = [name for name in metrics_in(self._template) if not self._is_fresh(trainer, name, candidates)]
        hopeless = self._has_seen_all_events(trainer, epoch_end)
        return tuple(name for name in stale if not hopeless or name in trainer.callback_metrics)

    def _has_seen_all_events(self, trainer: Trainer, epoch_end: bool) -> bool:
        """Whether every event that could bring a metric has happened once."""
        epoch_ended = epoch_end or self._evaluated_at[1] >= 0 or trainer.num_training_batches == float("inf")
        return epoch_ended and (self._validated or not trainer.enable_validation)

    def _complain_if_missing(self, trainer: Trainer, epoch_end: bool) -> None:
        """Raises if the monitored metric should have come by now, and did not."""
        metrics, monitor = trainer.callback_metrics, self.monitor
        if monitor is None or monitor in metrics:
            return
        rule = f"`ModelCheckpoint(monitor={monitor!r})` needs a metric that is logged."
        if self._validated and (epoch_end or self.current_score is None):
            raise MisconfigurationException(
                rule,
                got=f"these metrics: {show({*metrics, 'epoch', 'step'})}",
                fix=advice_for_missing(monitor, metrics)
                + " For a metric that comes with the end of training epochs, pass `save_on_train_epoch_end=True`.",
            )
        if epoch_end and not trainer.enable_validation:
            warn_once(f"{rule} These are logged: {show(metrics)}. Nothing is saved as long as it is missing.")

    def _save(self, trainer: Trainer, candidates: Candidates) -> None:
        step, saved = trainer.global_step, False
        if step != self._last_global_step_saved:
            saved = self._save_topk_checkpoint(trainer, candidates) is not False
        if saved:
            self._last_global_step_saved = step
        if saved or step != self._last_file_step:
            self._save_last_checkpoint(trainer, candidates)
            if self.save_last:
                self._last_file_step, saved = step, True
        if saved and not self.save_weights_only:
            self._let_go(trainer)
        self._remove_obsolete(trainer)
