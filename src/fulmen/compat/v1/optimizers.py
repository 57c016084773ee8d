"""The training step of a module of 1.x: several optimizers, splits of batches, methods in old signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.compat.v1.bar import put_bar_dict
from fulmen.compat.v1.configured import put_configure
from fulmen.compat.v1.heard import users
from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.old_calls import put_callback_calls, put_old_calls
from fulmen.compat.v1.returned import put_returned
from fulmen.compat.v1.step import FormerStep, put_step
from fulmen.core.module import LightningModule

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def adapt(trainer: Trainer, owner: object) -> None:
    """Looks at a module or callback before a run.

    Args:
        trainer: Who runs it.
        owner: A module, data module or callback.
    """
    if isinstance(owner, LightningModule):
        _adapt_module(trainer, owner)
    elif isinstance(owner, Callback):
        put_callback_calls(trainer, owner)
        if isinstance(owner, ProgressBar):
            put_bar_dict(trainer, owner)


def _adapt_module(trainer: Trainer, module: LightningModule) -> None:
    if users(module, "training_step") is not None:
        found = FormerStep(module)
        if found.old:
            if "optimizer_idx" in found.named:
                hint(
                    "`training_step` with `optimizer_idx`",
                    '`configure_optimizers` returns optimizers by name, `{"a": optimizer_a, "b": optimizer_b}`, and '
                    '`training_step` a loss for each, `{"a": loss_a, "b": loss_b}`.',
                )
            put_step(module)
    put_returned(module)
    put_old_calls(trainer, module)
    put_configure(trainer, module)
