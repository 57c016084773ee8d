"""The checkpoints that a callback keeps: their names, their ranking, and which of them goes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from fulmen.callbacks import checkpoint_files as files
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.callbacks.checkpoint_name import COUNTERS, check_template, fields, fill
from fulmen.callbacks.checkpoint_options import check_what_to_keep
from fulmen.callbacks.checkpoint_past import with_ranking
from fulmen.callbacks.monitor import advice_for_missing, check_mode
from fulmen.checkpoint.io import join, poll, when_saved
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn, warn_once

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_RANKING = (
    "current_score",
    "best_k_models",
    "kth_best_model_path",
    "kth_value",
    "best_model_path",
    "best_model_score",
    "last_model_path",
)
_SAVED = ("_last_checkpoint_saved", "_last_global_step_saved", "_last_file_step")


class CheckpointStore(Checkpoint):
    """Keeps the best checkpoints by a metric and the last one; somebody else says when one is to be written.

    A file is removed only after the one that takes its place has been written, and only if this store wrote it. Where
    files are written while training goes on, the ranking knows a file from the moment its writing begins, and forgets
    it if that fails; loggers, links and removal wait until it is in its place.
    For the arguments and attributes see :class:`~fulmen.callbacks.model_checkpoint.ModelCheckpoint`.
    """

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None,
        filename: str | None,
        monitor: str | None,
        mode: str,
        save_top_k: int,
        save_last: bool | Literal["link"] | None,
        save_weights_only: bool,
        auto_insert_metric_name: bool,
        enable_version_counter: bool,
        verbose: bool,
    ) -> None:
        super().__init__()
        self.mode = check_mode(type(self).__name__, mode)
        check_what_to_keep(save_top_k, monitor, save_last)
        if filename:
            check_template(filename, "ModelCheckpoint(filename=...)")
        self.dirpath = None if dirpath is None else files.absolute(dirpath)
        self._has_own_folder = dirpath is not None
        self.filename = filename
        self.monitor = monitor
        self.save_top_k = save_top_k
        self.save_last = save_last
        self.save_weights_only = save_weights_only
        self.auto_insert_metric_name = auto_insert_metric_name
        self.verbose = verbose
        self._enable_version_counter = enable_version_counter
        self.current_score: Tensor | None = None
        self.best_k_models: dict[str, Tensor] = {}
        self.kth_best_model_path = ""
        self.kth_value = torch.tensor(float("inf" if mode == "min" else "-inf"))
        self.best_model_path = ""
        self.best_model_score: Tensor | None = None
        self.last_model_path = ""
        self._last_checkpoint_saved = ""
        self._last_global_step_saved = 0
        self._last_file_step = 0
        self._in_flight = False  # whether a file of this callback is still being written
        self._obsolete: list[str] = []
        self._interim: list[str] = []  # files that were saved because a signal ended a run

    def state_dict(self) -> dict[str, Any]:
        """The ranking, and where the files lie."""
        names = ("monitor", "best_model_score", "best_model_path", "current_score", "dirpath", "best_k_models")
        return {name: getattr(self, name) for name in (*names, "kth_best_model_path", "kth_value", "last_model_path")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave.

        Where a logger has given a run that goes on a new folder, files in the old one keep their ranks. Where the
        user has, only the best file so far is taken over.
        """
        state_dict = with_ranking(state_dict, self.monitor, self.save_top_k)
        self.best_model_path = state_dict["best_model_path"]
        moved = state_dict.get("dirpath", self.dirpath) != self.dirpath
        if moved and self._has_own_folder:
            rank_zero_warn(
                f"Checkpoints went to {state_dict['dirpath']!r} before and go to {self.dirpath!r} now: only "
                "`best_model_path` is taken over, and the ranking begins anew."
            )
            return
        for name in _RANKING:
            setattr(self, name, state_dict.get(name, getattr(self, name)))
        self.best_k_models = dict(self.best_k_models)
        if moved:
            self._keep_ranks_of(files.exists)
        elif not self.last_model_path and self.dirpath:  # it may have been written after this state
            last = os.path.join(self.dirpath, self.CHECKPOINT_NAME_LAST + self.FILE_EXTENSION)
            self.last_model_path = last if files.exists(last) else ""

    def _keep_ranks_of(self, wanted: Callable[[str], bool]) -> None:
        """Takes files out of the ranking, except those that are wanted."""
        kept = {path: score for path, score in self.best_k_models.items() if wanted(path)}
        if len(kept) == len(self.best_k_models):
            return
        self.best_k_models = kept
        worst, best = (max, min) if self.mode == "min" else (min, max)
        self.kth_best_model_path = worst(kept, key=kept.__getitem__) if kept else ""
        none_yet = torch.tensor(float("inf" if self.mode == "min" else "-inf"))
        self.kth_value = kept.get(self.kth_best_model_path, none_yet)
        if kept:
            self.best_model_path = best(kept, key=kept.__getitem__)
            self.best_model_score = kept[self.best_model_path]

    # Names

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, Any],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """The path of a checkpoint.

        Args:
            metrics: Values for the names in the template; one that is missing counts as 0.
            filename: The template; None for that of the callback.
            ver: A number to put at the end.
            prefix: A word to put in front.

        Returns:
            The path; only the name, as long as the folder is not known.

        Example:
            >>> from fulmen.callbacks import ModelCheckpoint
            >>> ModelCheckpoint(filename="{epoch}-{val_loss:.2f}").format_checkpoint_name({"epoch": 2, "val_loss": 0.5})
            'epoch=2-val_loss=0.50.ckpt'
        """
        join = self.CHECKPOINT_JOIN_CHAR
        name = fill(
            filename or self._template, metrics, self.auto_insert_metric_name, equals=self.CHECKPOINT_EQUALS_CHAR
        )
        parts = [prefix or "", name, "" if ver is None else f"v{ver}"]
        name = join.join(part for part in parts if part) + self.FILE_EXTENSION
        return os.path.join(self.dirpath, name) if self.dirpath else name

    @property
    def _template(self) -> str:
        return self.filename or f"{{epoch}}{self.CHECKPOINT_JOIN_CHAR}{{step}}"

    def file_exists(self, filepath: str | os.PathLike[str], trainer: Trainer) -> bool:
        """Whether a file is there, as the process with rank 0 sees it."""
        return bool(trainer.strategy.broadcast(files.exists(os.fspath(filepath))))

    def _is_fresh(self, trainer: Trainer, name: str) -> bool:
        """Whether the value of a metric was made by the weights of this moment."""
        return name in COUNTERS or trainer.metric_step(name) == trainer.global_step

    def _value(self, trainer: Trainer, name: str) -> Tensor | None:
        """The value of a metric, or of a counter that nobody logs under its name; None if there is none."""
        value: Tensor | None = trainer.callback_metrics.get(name)
        if name in COUNTERS:
            count = trainer.current_epoch if name == "epoch" else trainer.global_step
            return torch.tensor(count) if value is None else value.int()
        return value

    def _labels(self, trainer: Trainer, template: str) -> dict[str, Tensor | None]:
        names = fields(template)
        for name in names:
            if self._value(trainer, name) is None:
                warn_once(
                    f"{name!r} in the names of checkpoints has not been logged so far, and is shown as none. "
                    + advice_for_missing(name, trainer.callback_metrics)
                )
        return {name: self._value(trainer, name) if self._is_fresh(trainer, name) else None for name in names}

    def _free_path(self, trainer: Trainer, template: str, own: str | None) -> str:
        """A path at which nothing is overwritten, unless it is the file that is to be replaced."""
        labels = self._labels(trainer, template)
        path, version = self.format_checkpoint_name(labels, template), self.STARTING_VERSION
        # what a signal left, and the run has gone on from, may give its name away
        given = {own, *self._interim}
        while self._enable_version_counter and path not in given and self.file_exists(path, trainer):
            path = self.format_checkpoint_name(labels, template, ver=version)
            version += 1
        return path

    def _find_last_checkpoints(self, trainer: Trainer) -> set[str]:
        """The paths of the files that hold the last weights of this or an earlier run."""
        folder = self.dirpath or self._default_dirpath(trainer)
        pattern = files.pattern_of(self.CHECKPOINT_NAME_LAST, self.FILE_EXTENSION, self.CHECKPOINT_JOIN_CHAR)
        return {os.path.join(folder, name) for name in files.names_in(folder) if pattern.fullmatch(name)}

    def _default_dirpath(self, trainer: Trainer) -> str:
        folder = trainer.default_root_dir
        if trainer.loggers:
            logger = trainer.loggers[0]
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            folder = os.path.join(folder if logger.save_dir is None else logger.save_dir, logger.name or "", version)
        folder = os.path.join(folder, "checkpoints")
        return folder if files.is_remote(folder) else os.path.abspath(folder)

    # Ranking

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether a value is among the best, so that its weights are to be kept.

        Args:
            trainer: The Trainer.
            current: The value of the monitored metric.

        Returns:
            What the processes agree on.
        """
        if current is None:
            return False
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        if self.save_top_k == 0:
            return False
        better = torch.lt if self.mode == "min" else torch.gt
        worst_kept = self.best_k_models[self.kth_best_model_path].to(current.device)
        return bool(trainer.strategy.reduce_boolean_decision(bool(better(current, worst_kept))))

    def _save_topk_checkpoint(self, trainer: Trainer) -> bool:
        """Writes a checkpoint, if it is one to keep."""
        if self.save_top_k == 0:
            return False
        if self.monitor is None:
            self._save_newest(trainer)
            return True
        current = self._value(trainer, self.monitor)
        if current is not None and self.check_monitor_top_k(trainer, current):
            self._save_ranked(trainer, self.monitor, current)
            return True
        self._tell(trainer, f"{self.monitor!r} was not in top {self.save_top_k}")
        return False

    def _save_newest(self, trainer: Trainer) -> None:
        self._settle(trainer)
        previous = self.best_model_path if self.save_top_k == 1 else ""
        path = self._free_path(trainer, self._template, own=previous)
        with self._unchanged_on_failure(trainer, path):
            self.best_model_path = self._last_checkpoint_saved = path
            self._save_checkpoint(trainer, path)
        self._retire(trainer, previous, path)

    def _save_ranked(self, trainer: Trainer, monitor: str, current: Tensor) -> None:
        self._settle(trainer)
        worst, best = (max, min) if self.mode == "min" else (min, max)
        full = self.save_top_k != -1 and len(self.best_k_models) >= self.save_top_k
        evicted = self.kth_best_model_path if full else ""
        path = self._free_path(trainer, self._template, own=evicted)
        score = current.detach().squeeze().cpu()
        if score.isnan():
            score = torch.full_like(score, float("inf" if self.mode == "min" else "-inf"))
        with self._unchanged_on_failure(trainer, path):
            ranked = {known: value for known, value in self.best_k_models.items() if known != evicted}
            ranked[path] = score
            self.current_score, self.best_k_models = score, ranked
            if self.save_top_k in (-1, len(ranked)):
                self.kth_best_model_path = worst(ranked, key=ranked.__getitem__)
                self.kth_value = ranked[self.kth_best_model_path]
            self.best_model_path = best(ranked, key=ranked.__getitem__)
            self.best_model_score = ranked[self.best_model_path]
            self._tell(
                trainer,
                f"{monitor!r} reached {score:.5f} (best {self.best_model_score:.5f}), saving model to {path!r} as top "
                f"{len(ranked) if self.save_top_k == -1 else self.save_top_k}",
            )
            self._last_checkpoint_saved = path
            self._save_checkpoint(trainer, path)
        self._retire(trainer, evicted, path)

    def _save_last_checkpoint(self, trainer: Trainer) -> None:
        """Writes the last checkpoint, or points a link to the newest one."""
        linked = self.save_last == "link" and self.save_top_k != 0
        if linked and not self._last_checkpoint_saved:
            return
        if not linked:
            join(_io(trainer))
        previous = self.last_model_path
        path = self._free_path(trainer, self.CHECKPOINT_NAME_LAST, own=previous)
        target = self._last_checkpoint_saved if linked and not files.is_remote(path) else ""
        with self._unchanged_on_failure(trainer, target or path):
            self.last_model_path = path
            if target:
                if trainer.is_global_zero:
                    self._when_saved(trainer, target, partial(files.link, target, path))
                trainer.strategy.barrier("ModelCheckpoint.link")
            else:
                self._save_checkpoint(trainer, path)
        self._retire(trainer, previous, path, saved=target)

    # Files

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        trainer.save_checkpoint(filepath, self.save_weights_only)
        if trainer.is_global_zero:
            self._when_saved(trainer, filepath, partial(self._tell_loggers, trainer))

    def _tell_loggers(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.after_save_checkpoint(weakref.proxy(self))

    @staticmethod
    def _when_saved(
        trainer: Trainer, path: str, action: Callable[[], None], if_failed: Callable[[], None] | None = None
    ) -> None:
        when_saved(_io(trainer), path, action, if_failed)

    def _settle(self, trainer: Trainer, wait: bool = True) -> None:
        """Waits until what was saved is in its place, and removes what it takes the place of."""
        (join if wait else poll)(_io(trainer))
        self._remove_obsolete(trainer)

    @contextmanager
    def _unchanged_on_failure(self, trainer: Trainer, path: str) -> Generator[None]:
        # A checkpoint holds the ranking that it is part of, so the ranking changes before the file is written.
        before = {name: getattr(self, name) for name in (*_RANKING, *_SAVED)}
        try:
            yield
        except BaseException:
            self._go_back(before)
            raise
        self._in_flight = True
        self._when_saved(trainer, path, self._land, if_failed=partial(self._go_back, before))

    def _land(self) -> None:
        self._in_flight = False

    def _go_back(self, before: dict[str, Any]) -> None:
        self._in_flight = False
        for name, value in before.items():
            setattr(self, name, value)

    def _retire(self, trainer: Trainer, path: str, successor: str, saved: str = "") -> None:
        """Gives a file up as soon as the one that takes its place is there."""
        if path and path != successor:
            self._when_saved(trainer, saved or successor, partial(self._obsolete.append, path))

    def _remove_obsolete(self, trainer: Trainer) -> None:
        """Removes the files whose places were taken, except one that the user has named to go on from."""
        while self._obsolete:
            path = self._obsolete.pop()
            resumed_from = trainer.ckpt_path if trainer.ckpt_named else None
            if resumed_from is not None and files.absolute(resumed_from) == files.absolute(path):
                continue
            if files.is_remote(path) or (self.dirpath and files.lies_below(path, self.dirpath)):
                trainer.strategy.remove_checkpoint(path)

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Writes the paths of the best checkpoints with their scores as YAML.

        Args:
            filepath: Where to; None for ``best_k_models.yaml`` beside them.
        """
        yaml = require("yaml", "all", "`ModelCheckpoint.to_yaml`")
        scores = {path: score.item() for path, score in self.best_k_models.items()}
        with open(filepath or os.path.join(self.dirpath or "", "best_k_models.yaml"), "w", encoding="utf-8") as file:
            yaml.dump(scores, file)

    def _tell(self, trainer: Trainer, what: str) -> None:
        if self.verbose:
            rank_zero_info(f"Epoch {trainer.current_epoch:d}, global step {trainer.global_step:d}: {what}")


def _io(trainer: Trainer) -> Any:
    return getattr(trainer.strategy, "checkpoint_io", None)
