"""Events that a strategy hears of."""

from __future__ import annotations

from typing import Any


class StrategyHooks:
    """What a strategy may want to know of a run; none of it matters to one process."""

    def on_train_start(self) -> None:
        """Called when training begins."""

    def on_train_end(self) -> None:
        """Called when training ends."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Called before a training batch."""

    def post_training_step(self) -> None:
        """Called after ``training_step``."""

    def on_validation_start(self) -> None:
        """Called when validation begins."""

    def on_validation_end(self) -> None:
        """Called when validation ends."""

    def on_test_start(self) -> None:
        """Called when testing begins."""

    def on_test_end(self) -> None:
        """Called when testing ends."""

    def on_predict_start(self) -> None:
        """Called when prediction begins."""

    def on_predict_end(self) -> None:
        """Called when prediction ends."""

    def on_exception(self, exception: BaseException) -> None:
        """Called when a run fails."""
