"""The checkpoints that a callback keeps: their names, their ranking, and which of them goes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from fulmen.callbacks import checkpoint_files as files
from fulmen.callbacks.checkpoint_name import check_template
from fulmen.callbacks.checkpoint_naming import Candidates, CheckpointNaming
from fulmen.callbacks.checkpoint_options import check_what_to_keep
from fulmen.callbacks.checkpoint_past import with_ranking
from fulmen.callbacks.monitor import check_mode
from fulmen.checkpoint.io import join, poll, when_saved
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn

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


class CheckpointStore(CheckpointNaming):
    """Keeps the best checkpoints by a metric and the last one; somebody else says when one is to be written.

    A file is removed only after the one that takes its place has been written, and only if this store wrote it. Where
    files are written while training goes on, the ranking knows a file from the moment its writing begins, and forgets
    it if that fails; loggers, links and removal wait until it is in its place.
    For the arguments and attributes see :class:`~fulmen.callbacks.model_checkpoint.ModelCheckpoint`.
    """

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

    # Libraries derive from this class and replace one of the methods below; each is called where its name says.

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: Candidates) -> bool | None:
        """Writes a checkpoint, if it is one to keep; False says that it was none."""
        if self.save_top_k == 0:
            return False
        if self.monitor is None:
            return self._save_none_monitor_checkpoint(trainer, monitor_candidates)
        return self._save_monitor_checkpoint(trainer, monitor_candidates)

    def _save_monitor_checkpoint(self, trainer: Trainer, monitor_candidates: Candidates) -> bool | None:
        current = monitor_candidates.get(str(self.monitor))
        if current is not None and self.check_monitor_top_k(trainer, current):
            self._update_best_and_save(current, trainer, monitor_candidates)
            return True
        self._tell(trainer, f"{self.monitor!r} was not in top {self.save_top_k}")
        return False

    def _save_none_monitor_checkpoint(self, trainer: Trainer, monitor_candidates: Candidates) -> bool | None:
        self._settle(trainer)
        previous = self.best_model_path if self.save_top_k == 1 else ""
        path = self._get_metric_interpolated_filepath_name(monitor_candidates, trainer, previous)
        with self._unchanged_on_failure(trainer, path):
            self.best_model_path = self._last_checkpoint_saved = path
            self._save_checkpoint(trainer, path)
        self._retire(trainer, previous, path)
        return True

    def _update_best_and_save(self, current: Tensor, trainer: Trainer, monitor_candidates: Candidates) -> None:
        self._settle(trainer)
        worst, best = (max, min) if self.mode == "min" else (min, max)
        full = self.save_top_k != -1 and len(self.best_k_models) >= self.save_top_k
        evicted = self.kth_best_model_path if full else ""
        path = self._get_metric_interpolated_filepath_name(monitor_candidates, trainer, evicted)
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
                f"{self.monitor!r} reached {score:.5f} (best {self.best_model_score:.5f}), saving model to {path!r} as "
                f"top {len(ranked) if self.save_top_k == -1 else self.save_top_k}",
            )
            self._last_checkpoint_saved = path
            self._save_checkpoint(trainer, path)
        self._retire(trainer, evicted, path)

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: Candidates) -> None:
        """Writes the last checkpoint, or points a link to the newest one."""
        if not self.save_last:
            return
        linked = self.save_last == "link" and self.save_top_k != 0
        if linked and not self._last_checkpoint_saved:
            return
        if not linked:
            join(_io(trainer))
        previous = self.last_model_path
        path = self._free_path(trainer, self.CHECKPOINT_NAME_LAST, own=previous, candidates=monitor_candidates)
        target = self._last_checkpoint_saved if linked and not files.is_remote(path) else ""
        with self._unchanged_on_failure(trainer, target or path):
            self.last_model_path = path
            if target:
                if trainer.is_global_zero:
                    self._when_saved(trainer, target, partial(self._link_checkpoint, trainer, target, path))
                trainer.strategy.barrier("ModelCheckpoint.link")
            else:
                self._save_checkpoint(trainer, path)
        self._retire(trainer, previous, path, saved=target)

    def _save_last(self, trainer: Trainer) -> None:
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self._last_file_step = trainer.global_step

    # Files

    @staticmethod
    def _link_checkpoint(trainer: Trainer, filepath: str, linkpath: str) -> None:
        files.link(filepath, linkpath)

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
        if path and path != successor and self._should_remove_checkpoint(trainer, path, successor):
            self._when_saved(trainer, saved or successor, partial(self._obsolete.append, path))

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Whether a file may go: not one that the user has named to go on from, or that lies elsewhere."""
        resumed_from = trainer.ckpt_path if trainer.ckpt_named else None
        if resumed_from is not None and files.absolute(resumed_from) == files.absolute(previous):
            return False
        return files.is_remote(previous) or bool(self.dirpath and files.lies_below(previous, self.dirpath))

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        trainer.strategy.remove_checkpoint(filepath)

    def _remove_obsolete(self, trainer: Trainer) -> None:
        """Removes the files whose places were taken."""
        while self._obsolete:
            self._remove_checkpoint(trainer, self._obsolete.pop())

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
