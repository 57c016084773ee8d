"""What Lightning 1.x's ``ModelCheckpoint`` has beyond today's."""

from __future__ import annotations

import os
from typing import Any

from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.speech import before


def mode_of(monitor: str | None, mode: str) -> str:
    """What ``mode="auto"`` of 1.0 means for a metric.

    Args:
        monitor: The metric.
        mode: What was given.
    """
    if mode != "auto":
        return mode
    hint('`mode="auto"`', '`mode="min"` or `mode="max"`.')
    name = monitor or ""
    return "max" if "acc" in name or name.startswith("fmeasure") else "min"


def give_state(self: Any, trainer: Any, pl_module: Any, checkpoint: Any) -> Any:
    """What ``on_save_checkpoint`` returned in 1.5, for subclasses that add to it.

    Args:
        self: The callback.
        trainer: The Trainer.
        pl_module: The module.
        checkpoint: The checkpoint.

    Returns:
        The callback's state.
    """
    return self.state_dict()


def take_state(self: Any, trainer: Any, pl_module: Any, callback_state: Any) -> None:
    """What ``on_load_checkpoint`` did in 1.5, where it got the callback's own state.

    Args:
        self: The callback.
        trainer: The Trainer.
        pl_module: The module.
        callback_state: The state; a whole checkpoint is left to :meth:`load_state_dict`.
    """
    if "state_dict" not in callback_state:
        self.load_state_dict(callback_state)


class WORDS:
    """Names that today's class does not have."""

    on_save_checkpoint, on_load_checkpoint = give_state, take_state

    def save_checkpoint(self: Any, trainer: Any) -> None:
        """Saves now, as if a save were due.

        Args:
            self: The callback.
            trainer: The Trainer.
        """
        hint("`ModelCheckpoint.save_checkpoint(trainer)`", "`trainer.save_checkpoint(path)`.")
        if trainer.fast_dev_run or self._is_saved(trainer):
            return
        self._save(trainer, self._monitor_candidates(trainer))


class SIGNATURES:
    """Methods of today's class that take more than it does, in place of its own once 1.x is spoken."""

    def __init__(
        self: Any,
        dirpath: Any = None,
        *args: Any,
        every_n_val_epochs: int | None = None,
        period: int | None = None,
        filepath: Any = None,
        prefix: str = "",
        **kwargs: Any,
    ) -> None:
        for name, every in (("every_n_val_epochs", every_n_val_epochs), ("period", period)):
            if every is not None:
                hint(f"`ModelCheckpoint({name}=...)`", f"`ModelCheckpoint(every_n_epochs={every})`.")
                kwargs.setdefault("every_n_epochs", every if every > 0 else 0)
        if filepath is not None:
            hint("`ModelCheckpoint(filepath=...)`", "`ModelCheckpoint(dirpath=..., filename=...)`.")
            folder, name = os.path.split(os.fspath(filepath))
            if os.path.isdir(filepath):
                folder, name = os.fspath(filepath), ""
            dirpath = dirpath or folder or None
            if name and not args:
                kwargs.setdefault("filename", name)
        if prefix:
            hint("`ModelCheckpoint(prefix=...)`", "the prefix at the start of `filename`.")
            kwargs["filename"] = f"{prefix}-{kwargs.get('filename') or '{epoch}-{step}'}"
        if "save_top_k" in kwargs and kwargs["save_top_k"] is None:
            hint("`ModelCheckpoint(save_top_k=None)`", "`ModelCheckpoint(save_top_k=1)`.")
            kwargs["save_top_k"] = 1
        if "mode" in kwargs:
            kwargs["mode"] = mode_of(kwargs.get("monitor"), kwargs["mode"])
        before("ModelCheckpoint", "__init__")(self, dirpath, *args, **kwargs)
