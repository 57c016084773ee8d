"""Saves the run when an exception ends it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.callbacks.checkpoint_files import absolute
from fulmen.callbacks.emergency import finish_earlier_save, is_broken
from fulmen.checkpoint.io import join
from fulmen.utilities.exceptions import MisconfiguredType
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class OnExceptionCheckpoint(Checkpoint):
    """Saves everything that training needs to go on when an exception ends `fit`, Ctrl-C included.

    The file is always the same one; ``trainer.fit(model, ckpt_path=callback.ckpt_path)`` goes on at the start of the
    failed step, or of the accumulation window it belongs to. It is written only where batches were trained on since the
    run began: what fails in ``validate``, ``test`` or ``predict``, or before the end of the first batch, has nothing to
    save and must not take the place of a file that has. With several processes nothing is saved: only a group that is
    whole saves.

    Args:
        dirpath: The folder.
        filename: The name of the file, without its extension. It is taken as it is: nothing is filled in.

    Raises:
        MisconfigurationException: If `dirpath` is no path, or `filename` is no name.

    Example:
        >>> OnExceptionCheckpoint("/tmp", "crashed").ckpt_path
        '/tmp/crashed.ckpt'
    """

    FILE_EXTENSION = ".ckpt"

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        super().__init__()
        if not isinstance(dirpath, (str, os.PathLike)):
            raise MisconfiguredType(
                "`OnExceptionCheckpoint(dirpath=...)` is the folder that the file is written to.",
                got=dirpath,
                fix='`OnExceptionCheckpoint("checkpoints")`.',
            )
        if not isinstance(filename, str) or not filename:
            raise MisconfiguredType(
                "`OnExceptionCheckpoint(filename=...)` is the name of the file, without its extension.",
                got=filename,
                fix='Leave it out for "on_exception", or write `filename="crashed"`.',
            )
        self.dirpath = dirpath
        self.filename = filename
        self._batches_before: int | None = None

    @property
    def ckpt_path(self) -> str:
        """Where the file is written."""
        return os.path.join(self.dirpath, self.filename + self.FILE_EXTENSION)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing is worth a file yet."""
        self._batches_before = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on there is something to lose."""
        self._batches_before = trainer.progress.batches

    def on_exception(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Saves what would be lost."""
        before, self._batches_before = self._batches_before, None
        if before is None or trainer.progress.batches == before or trainer.fast_dev_run or is_broken(trainer):
            return
        finish_earlier_save(trainer)
        path = absolute(self.ckpt_path)
        try:
            trainer.save_checkpoint(path)
            join(trainer.strategy.checkpoint_io)
        except Exception as failure:  # the exception that ended training is the one to be seen
            rank_zero_warn(f"After an exception, a checkpoint could not be saved to {path}: {failure!r}")
        else:
            rank_zero_info(f"After an exception, a checkpoint was saved to {path}.")

    def teardown(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Waits until the file is in its place."""
        join(trainer.strategy.checkpoint_io)
