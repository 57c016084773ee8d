"""Lets modules, data modules and callbacks that are written for 1.x take part in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callbacks.callback import Callback
from fulmen.compat.v1 import events, old_signatures, outputs, steps
from fulmen.core.module import LightningModule

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def adapt_owner(trainer: Trainer, owner: object) -> None:
    """Looks at what a run is made of; see ``fulmen.compat.v1.adapt``.

    Args:
        trainer: The Trainer.
        owner: A module, data module or callback.
    """
    if isinstance(owner, Callback):
        old_signatures.adapt_callback(trainer, owner)
        outputs.adapt_callback(trainer, owner)
    else:
        old_signatures.adapt_transfers(owner)
    if isinstance(owner, LightningModule):
        old_signatures.adapt_batches(owner)
        outputs.adapt_module(trainer, owner)
        steps.adapt_module(trainer, owner)
    events.adapt(trainer, owner)
