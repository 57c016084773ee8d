"""A Trainer's callbacks, as they are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.trainer.attach import attach_callbacks
from fulmen.trainer.parts import checkpoints_last

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.trainer.trainer import Trainer


class _CallbackConnector:
    """A Trainer's callbacks.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def _attach_model_callbacks(self) -> None:
        attach_callbacks(self.trainer, self.trainer.lightning_module)

    def _attach_model_logging_functions(self) -> None:
        module = self.trainer.lightning_module
        for callback in self.trainer.callbacks:
            callback.__dict__.update(log=module.log, log_dict=module.log_dict)

    @staticmethod
    def _reorder_callbacks(callbacks: list[Callback]) -> list[Callback]:
        return checkpoints_last(callbacks)
