"""Lets modules, data modules and callbacks that are written for 1.x take part in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.compat.v1 import hooks, optimizers, run_flags

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def adapt_owner(trainer: Trainer, owner: object) -> None:
    """Looks at what a run is made of; see ``fulmen.compat.v1.adapt``.

    Args:
        trainer: The Trainer.
        owner: A module, data module or callback.
    """
    hooks.adapt(trainer, owner)
    optimizers.adapt(trainer, owner)
    run_flags.adapt(trainer, owner)
