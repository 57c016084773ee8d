"""Every event that a user can listen to, once: its name, its signature and what it means.

``LightningModule`` and ``LightningDataModule`` inherit these; ``callbacks.Callback`` has the same events with the
trainer and the module in front. A listener counts only where its function is not the one defined here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.utilities.tree import move_data_to_device


def keep_modes(module: Any) -> None:
    """Notes for every submodule whether it trains or evaluates, for :func:`restore_modes`."""
    module.__dict__["_modes"] = {child: child.training for child in module.modules()}


def restore_modes(module: Any) -> None:
    """Puts every submodule back into the mode that :func:`keep_modes` noted."""
    for child, training in module.__dict__.pop("_modes", {}).items():
        child.training = training


class ModelHooks:
    """Events of the loops, in the order in which a run meets them."""

    def on_fit_start(self) -> None:
        """Called when `fit` begins, after `setup`, with the model on its device."""

    def on_fit_end(self) -> None:
        """Called when `fit` ends, before `teardown`."""

    def on_train_start(self) -> None:
        """Called when training begins."""

    def on_train_end(self) -> None:
        """Called when training ends."""

    def on_train_epoch_start(self) -> None:
        """Called when an epoch of training begins."""

    def on_train_epoch_end(self) -> None:
        """Called when an epoch of training ends."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        """Called before a training batch. Returning -1 skips the rest of the epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Called after a training batch, with what `training_step` returned (the loss detached)."""

    def on_validation_start(self) -> None:
        """Called when validation begins."""

    def on_validation_end(self) -> None:
        """Called when validation ends."""

    def on_validation_epoch_start(self) -> None:
        """Called when an epoch of validation begins."""

    def on_validation_epoch_end(self) -> None:
        """Called when an epoch of validation ends."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a batch of validation."""

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called after a batch of validation, with what the step returned."""

    def on_test_start(self) -> None:
        """Called when testing begins."""

    def on_test_end(self) -> None:
        """Called when testing ends."""

    def on_test_epoch_start(self) -> None:
        """Called when an epoch of testing begins."""

    def on_test_epoch_end(self) -> None:
        """Called when an epoch of testing ends."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a batch of testing."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called after a batch of testing, with what the step returned."""

    def on_predict_start(self) -> None:
        """Called when prediction begins."""

    def on_predict_end(self) -> None:
        """Called when prediction ends."""

    def on_predict_epoch_start(self) -> None:
        """Called when an epoch of prediction begins."""

    def on_predict_epoch_end(self) -> None:
        """Called when an epoch of prediction ends."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called before a batch of prediction."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Called after a batch of prediction, with what the step returned."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Called before gradients are cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """Called before `backward`, with the loss that it gets."""

    def on_after_backward(self) -> None:
        """Called after `backward`, before gradients are clipped or used."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Called before the optimizer steps, with gradients unscaled but not clipped yet."""

    def on_validation_model_zero_grad(self) -> None:
        """Clears gradients before validation inside `fit`, where no accumulation is under way."""
        self.zero_grad()  # type: ignore[attr-defined]

    def on_validation_model_eval(self) -> None:
        """Puts the model into evaluation mode for validation."""
        self.eval()  # type: ignore[attr-defined]

    def on_validation_model_train(self) -> None:
        """Puts the model back into the modes that it had before validation."""
        restore_modes(self)

    def on_test_model_eval(self) -> None:
        """Puts the model into evaluation mode for testing."""
        self.eval()  # type: ignore[attr-defined]

    def on_test_model_train(self) -> None:
        """Puts the model back into the modes that it had before testing."""
        restore_modes(self)

    def on_predict_model_eval(self) -> None:
        """Puts the model into evaluation mode for prediction."""
        self.eval()  # type: ignore[attr-defined]

    def configure_model(self) -> None:
        """Creates layers on the device and in the precision of the run. May be called several times: create once."""

    def configure_sharded_model(self) -> None:
        """The name of :meth:`configure_model` before 2.0."""


class DataHooks:
    """Where data comes from and how a batch reaches the device."""

    def prepare_data(self) -> None:
        """Downloads or prepares data, on one process only. Set nothing on `self` here: use `setup`."""

    def setup(self, stage: str) -> None:
        """Builds what a stage needs, on every process.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        """

    def teardown(self, stage: str) -> None:
        """Undoes `setup`, at the end of the stage."""

    def train_dataloader(self) -> Any:
        """The loader, or a list, dict or nest of loaders, to train on."""
        return None

    def val_dataloader(self) -> Any:
        """The loader, or a list of loaders, to validate on."""
        return None

    def test_dataloader(self) -> Any:
        """The loader, or a list of loaders, to test on."""
        return None

    def predict_dataloader(self) -> Any:
        """The loader, or a list of loaders, to predict on."""
        return None

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes a batch before it moves to the device; returns the batch."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a batch to the device; override it for a batch of a type of your own."""
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes a batch after it moved to the device; returns the batch."""
        return batch


class CheckpointHooks:
    """What else goes into a checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with a checkpoint before its weights are loaded."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with a checkpoint before it is written: add to it what you need back."""
