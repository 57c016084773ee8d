"""Where the files of a checkpoint callback lie and how they are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from fulmen.callbacks import checkpoint_files as files
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.callbacks.checkpoint_name import COUNTERS, fields, fill
from fulmen.callbacks.monitor import advice_for_missing
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Candidates: TypeAlias = Mapping[str, Tensor]  # what may be monitored, and stand in a name


class CheckpointNaming(Checkpoint):
    """Names files by a template and the metrics of the moment."""

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    dirpath: str | None
    filename: str | None
    auto_insert_metric_name: bool
    _enable_version_counter: bool
    _interim: list[str]

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
        name = self._format_checkpoint_name(filename or self._template, metrics, prefix, self.auto_insert_metric_name)
        version = "" if ver is None else f"{self.CHECKPOINT_JOIN_CHAR}v{ver}"
        name = name + version + self.FILE_EXTENSION
        return os.path.join(self.dirpath, name) if self.dirpath else name

    def _format_checkpoint_name(
        self,
        filename: str | None,
        metrics: Mapping[str, Any],
        prefix: str | None = None,
        auto_insert_metric_name: bool = True,
    ) -> str:
        name = fill(filename or self._template, metrics, auto_insert_metric_name, equals=self.CHECKPOINT_EQUALS_CHAR)
        return self.CHECKPOINT_JOIN_CHAR.join(part for part in (prefix, name) if part)

    @property
    def _template(self) -> str:
        return self.filename or f"{{epoch}}{self.CHECKPOINT_JOIN_CHAR}{{step}}"

    def file_exists(self, filepath: str | os.PathLike[str], trainer: Trainer) -> bool:
        """Whether a file is there, as the process with rank 0 sees it."""
        return bool(trainer.strategy.broadcast(files.exists(os.fspath(filepath))))

    @property
    def _fs(self) -> Any:
        """The file system of the folder, for libraries that look at files themselves."""
        from fulmen.utilities.cloud_io import get_filesystem

        return get_filesystem(self.dirpath or "")

    def _monitor_candidates(self, trainer: Trainer) -> dict[str, Tensor]:
        """What may be monitored: all metrics, and counters that nobody logs under their names."""
        candidates = dict(trainer.callback_metrics)
        for name, count in zip(COUNTERS, (trainer.current_epoch, trainer.global_step), strict=True):
            known = candidates.get(name)
            candidates[name] = torch.tensor(count) if known is None else known.int()
        if trainer.world_size == 1:
            return candidates
        # values of single steps may be each process's own
        return trainer.strategy.broadcast({name: value.cpu() for name, value in candidates.items()})

    def _is_fresh(self, trainer: Trainer, name: str, candidates: Candidates | None = None) -> bool:
        """Whether a value was made by the weights of this moment; those of a library's own, which nobody logs, are."""
        if name in COUNTERS or trainer.metric_step(name) == trainer.global_step:
            return True
        return candidates is not None and name in candidates and name not in trainer.callback_metrics

    def _labels(self, trainer: Trainer, template: str, candidates: Candidates) -> dict[str, Tensor | None]:
        names = fields(template)
        for name in names:
            if name not in candidates:
                warn_once(
                    f"{name!r} in the names of checkpoints has not been logged so far, and is shown as none. "
                    + advice_for_missing(name, trainer.callback_metrics)
                )
        return {name: candidates.get(name) if self._is_fresh(trainer, name, candidates) else None for name in names}

    def _get_metric_interpolated_filepath_name(
        self, monitor_candidates: Candidates, trainer: Trainer, del_filepath: str | None = None
    ) -> str:
        return self._free_path(trainer, self._template, own=del_filepath, candidates=monitor_candidates)

    def _free_path(self, trainer: Trainer, template: str, own: str | None, candidates: Candidates | None = None) -> str:
        """A path at which nothing is overwritten, unless it is the file that is to be replaced."""
        labels = self._labels(
            trainer, template, self._monitor_candidates(trainer) if candidates is None else candidates
        )
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
