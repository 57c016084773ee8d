"""Ends training when the loss leaps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from fulmen.callbacks.callback import Callback
from fulmen.utilities.spike import SpikeDetection as FabricSpikeDetection

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class SpikeDetection(FabricSpikeDetection, Callback):
    """Ends training with a `TrainingSpikeException` when the loss of a batch leaps to the worse.

    It looks at the loss as ``training_step`` returned it; batches that were skipped pass. See
    :class:`fulmen.utilities.spike.SpikeDetection` for what a spike is, for the arguments and for the file of batches.
    That file lies in the Trainer's ``default_root_dir`` by default.

    Example:
        >>> SpikeDetection(window=50, warmup=100, rtol=3.0).mode
        'min'
    """

    @torch.no_grad()
    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks at the loss of a batch."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        factor = self._share(trainer)
        if not isinstance(loss, torch.Tensor) or factor == 0:
            if trainer.strategy.reduce_boolean_decision(False, all=False):  # of a process that has a loss
                self._handle_spike(trainer, batch_idx)
            return
        if self.exclude_batches_path is None:
            self.exclude_batches_path = os.path.join(trainer.default_root_dir, "skip_batches.json")
        super().on_train_batch_end(trainer, loss / factor if factor != 1 else loss, batch, batch_idx)

    @staticmethod
    def _share(trainer: Trainer) -> float:
        """What the loss was multiplied with for its part in an accumulation window."""
        window = getattr(trainer.fit_loop.optimization, "window", None)
        return 1.0 if window is None else float(window.factor)
