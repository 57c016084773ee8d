"""Captures and restores the state of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fulmen.checkpoint.capture import dump, restore_callbacks, restore_model, restore_training
from fulmen.trainer.ckpt_path import find_checkpoint
from fulmen.trainer.execute import read_checkpoint
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class _CheckpointConnector:
    """A Trainer's checkpoints.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._loaded_checkpoint: dict[str, Any] = {}

    def dump_checkpoint(self, weights_only: bool | None = None) -> dict[str, Any]:
        """The state of the run, as it goes into a file.

        Args:
            weights_only: Whether to leave out what only going on with training needs.
        """
        return dump(self.trainer, weights_only=bool(weights_only))

    def resume_start(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """Reads a checkpoint; the other methods take from it.

        Args:
            checkpoint_path: Where it lies; None for the one that the run started from, if any.
            weights_only: See ``Trainer.fit``.
        """
        path = checkpoint_path or self.trainer.ckpt_path
        self._loaded_checkpoint = {} if path is None else read_checkpoint(self.trainer, os.fspath(path), weights_only)

    def resume_end(self) -> None:
        """Lets the checkpoint go."""
        self._loaded_checkpoint = {}
        self.trainer.strategy.barrier("_CheckpointConnector.resume_end")

    def restore(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """Gives everything of a checkpoint back to its owners.

        Args:
            checkpoint_path: Where it lies.
            weights_only: See ``Trainer.fit``.
        """
        self.resume_start(checkpoint_path, weights_only)
        self.restore_model()
        self.restore_training_state()
        self.resume_end()

    def restore_model(self) -> None:
        """Gives weights, and the states of data module, callbacks and precision, back."""
        if self._loaded_checkpoint:
            restore_model(self.trainer, self._loaded_checkpoint)

    def restore_callbacks(self) -> None:
        """Gives callbacks their states back."""
        if "callbacks" in self._loaded_checkpoint:
            restore_callbacks(self.trainer, self._loaded_checkpoint)

    def restore_datamodule(self) -> None:
        """Gives the data module its state back."""
        datamodule, name = self.trainer.datamodule, type(self.trainer.datamodule).__qualname__
        if datamodule is not None and name in self._loaded_checkpoint:
            datamodule.load_state_dict(self._loaded_checkpoint[name])

    def restore_training_state(self) -> None:
        """Gives optimizers, schedulers and counts back."""
        if self._loaded_checkpoint:
            restore_training(self.trainer, self._loaded_checkpoint)

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        self.resume_start(checkpoint_path, weights_only)
        self.restore_model()

    def _select_ckpt_path(
        self, state_fn: TrainerFn, ckpt_path: Any, model_provided: bool, model_connected: bool
    ) -> str | None:
        return find_checkpoint(self.trainer, ckpt_path, state_fn, model_given=model_provided)
