"""Today's hooks with what 1.x passed, for a user's ``super().on_train_batch_end(..., dataloader_idx)``."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.tree import move_data_to_device


class DATA:
    """Of modules and data modules."""

    def on_before_batch_transfer(self: Any, batch: Any, dataloader_idx: int = 0) -> Any:
        """Does nothing to a batch before it is moved."""
        return batch

    def transfer_batch_to_device(self: Any, batch: Any, device: Any, dataloader_idx: int = 0) -> Any:
        """Moves a batch."""
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self: Any, batch: Any, dataloader_idx: int = 0) -> Any:
        """Does nothing to a batch after it was moved."""
        return batch


class MODEL:
    """Of modules."""

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0, unused: int = 0) -> Any:
        """Does nothing."""

    def on_train_batch_end(
        self: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0, unused: int = 0
    ) -> None:
        """Does nothing."""

    def on_train_epoch_end(self: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_validation_epoch_end(self: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_test_epoch_end(self: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_predict_epoch_end(self: Any, results: Any = None) -> None:
        """Does nothing."""

    def on_before_optimizer_step(self: Any, optimizer: Any, optimizer_idx: int = 0) -> None:
        """Does nothing."""


class CALLBACK:
    """Of callbacks."""

    def on_train_batch_start(
        self: Any, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0, unused: int = 0
    ) -> Any:
        """Does nothing."""

    def on_train_batch_end(
        self: Any, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0,
        unused: int = 0,
    ) -> None:  # fmt: skip
        """Does nothing."""

    def on_train_epoch_end(self: Any, trainer: Any, pl_module: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_validation_epoch_end(self: Any, trainer: Any, pl_module: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_test_epoch_end(self: Any, trainer: Any, pl_module: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_predict_epoch_end(self: Any, trainer: Any, pl_module: Any, outputs: Any = None) -> None:
        """Does nothing."""

    def on_before_optimizer_step(self: Any, trainer: Any, pl_module: Any, optimizer: Any, opt_idx: int = 0) -> None:
        """Does nothing."""
