"""The base of callbacks that write checkpoints."""

from __future__ import annotations

from fulmen.callbacks.callback import Callback


class Checkpoint(Callback):
    """Marks a callback as one that writes checkpoints.

    It comes after all other callbacks, so that a checkpoint holds what they did at the same event, and its
    `on_train_epoch_end` comes after the module's own, so that it sees what the module logs there.
    """

    judges_epoch = True
