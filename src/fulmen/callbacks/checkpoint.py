"""The base of callbacks that write checkpoints."""

from __future__ import annotations

from fulmen.callbacks.callback import Callback


class Checkpoint(Callback):
    """Marks a callback as one that writes checkpoints.

    It comes after all other callbacks, so that a checkpoint holds what they did at the same event. At the end of a
    batch, a validation and an epoch it also comes after the module, so that it sees what the module does and logs
    there.
    """

    judges_epoch = True
    saves = True
