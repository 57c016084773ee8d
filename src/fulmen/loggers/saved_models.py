"""The checkpoints of a run that services for experiments keep as artifacts."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from fulmen.callbacks.model_checkpoint import ModelCheckpoint

_OPTIONS = ("monitor", "mode", "save_last", "save_top_k", "save_weights_only", "_every_n_train_steps")


class SavedModel(NamedTuple):
    """A checkpoint that is to be sent.

    Attributes:
        path: Where the callback has saved it.
        score: The monitored value, None where none was monitored.
        aliases: ``"latest"``, and ``"best"`` for the best one so far.
        options: How the callback saves.
        callback: The name of the callback's class.
    """

    path: str
    score: float | None
    aliases: list[str]
    options: dict[str, Any]
    callback: str

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path)


def new_models(callback: ModelCheckpoint, sent: dict[str, float]) -> list[SavedModel]:
    """The checkpoints of a callback that were not sent yet, the oldest first.

    Args:
        callback: What has saved them; a `ModelCheckpoint`.
        sent: When each path was changed that was sent already; what is returned is added.

    Returns:
        Those that are there, at present.
    """
    found: dict[str, Any] = {}
    for path, score in (
        (callback.last_model_path, callback.current_score),
        (callback.best_model_path, callback.best_model_score),
        *callback.best_k_models.items(),
    ):
        if path and os.path.exists(path):
            found[path] = score
    changed = {path: os.path.getmtime(path) for path in found}
    new = sorted((time, path) for path, time in changed.items() if path not in sent or sent[path] < time)
    sent.update((path, time) for time, path in new)
    options = {name: getattr(callback, name) for name in _OPTIONS if hasattr(callback, name)}
    return [
        SavedModel(
            path,
            _number(found[path]),
            ["latest", "best"] if path == callback.best_model_path else ["latest"],
            options,
            callback.__class__.__name__,  # `type` would name the weak proxy
        )
        for _, path in new
    ]


def _number(score: Any) -> float | None:
    return score.item() if isinstance(score, Tensor) else score


class Kept:
    """Another name for a file, under which it stays there until it was sent, whatever the callback deletes.

    Checkpoints are never changed in place, so a hard link is as good as a copy. Where the file system has no links it
    is a copy.

    Args:
        path: The checkpoint: a file, or a folder.
    """

    def __init__(self, path: str) -> None:
        # Beside the checkpoint: a link cannot lead to another disk.
        self._folder = tempfile.mkdtemp(prefix=".sending-", dir=os.path.dirname(os.path.abspath(path)))
        self.path = os.path.join(self._folder, os.path.basename(path))
        if os.path.isdir(path):
            shutil.copytree(path, self.path, copy_function=_link)
        else:
            _link(path, self.path)

    def drop(self) -> None:
        """Takes the name away."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
