"""Hooks of 1.x: those that get outputs, those that are no more, and those that took other arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callbacks.callback import Callback
from fulmen.compat.v1 import events, old_signatures, outputs, steps
from fulmen.core.module import LightningModule

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def adapt(trainer: Trainer, owner: object) -> None:
    """Has the hooks of a module, data module or callback called as 1.x called them.

    Args:
        trainer: The Trainer.
        owner: A module, data module or callback.
    """
    if isinstance(owner, Callback):
        old_signatures.adapt_callback(owner)
        outputs.adapt_callback(trainer, owner)
    else:
        old_signatures.adapt_transfers(owner)
    if isinstance(owner, LightningModule):
        old_signatures.adapt_batches(owner)
        outputs.adapt_module(trainer, owner)
        steps.adapt_module(trainer, owner)
    events.adapt(trainer, owner)
