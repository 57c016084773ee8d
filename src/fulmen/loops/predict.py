"""Prediction: one pass over each loader, keeping what ``predict_step`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fulmen.core.hooks import keep_modes, restore_modes
from fulmen.core.module import LightningModule
from fulmen.data.feed import Feed
from fulmen.loops.evaluate import LoaderSet, evaluation_mode
from fulmen.loops.recipe import step_function
from fulmen.loops.transfer import plan_transfer
from fulmen.loops.watch import watch_feed, watch_strategy, watch_transfer

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class PredictionLoop:
    """Runs ``predict_step`` over the stage's loaders.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.data = LoaderSet(trainer, "predict")
        self.return_predictions = True
        self.restarting = False

    @property
    def max_batches(self) -> list[int | float]:
        """Batches to run of each loader."""
        return self.data.max_batches

    def prepare(self) -> None:
        """Resolves what a pass needs, at the start of a run."""
        trainer = self.trainer
        self.module: LightningModule = trainer.lightning_module
        plan = plan_transfer(self.module, trainer.datamodule, trainer.strategy, "predict_dataloader")
        self.transfer = watch_transfer(trainer, plan)
        precision = trainer.strategy.precision_plugin
        self.context = precision.predict_step_context if precision.needs_context else None

    def run(self) -> list[Any] | None:
        """One pass over all loaders.

        Returns:
            What the steps returned: a list, or a list of lists where there are several loaders. None if predictions
            are not to be kept or there was nothing to predict.
        """
        trainer, hooks, module = self.trainer, self.trainer.hooks, self.module
        with torch.no_grad():
            self.data.load()
        if not any(self.max_batches):
            return None
        with evaluation_mode(trainer):
            keep_modes(module)
            module.on_predict_model_eval()
            trainer.logbook.open(None)
            hooks.on_predict_start()
            hooks.on_predict_epoch_start()
            predictions = [self._run_loader(index) for index, limit in enumerate(self.max_batches) if limit]
            hooks.on_predict_epoch_end()
            hooks.on_predict_end()
            restore_modes(module)
        if not self.return_predictions:
            return None
        return predictions[0] if len(self.max_batches) == 1 else predictions

    def _run_loader(self, index: int) -> list[Any]:
        trainer, hooks, book = self.trainer, self.trainer.hooks, self.trainer.logbook
        transfer, context = self.transfer.apply, self.context
        which = (index,) if len(self.max_batches) > 1 else ()
        step = watch_strategy(trainer, "predict_step", step_function(self.module, "predict_step", 2 + len(which)))
        kept: list[Any] = []
        loader = self.data.loaders[index]
        feed = Feed(loader, self.max_batches[index], device=self.transfer.device, fast=trainer.fast_data)
        batches = watch_feed(trainer, "[_PredictionLoop].predict_next", feed)
        for batch_idx, batch in enumerate(batches):
            if transfer is not None:
                batch = transfer(batch, index)
            hooks.on_predict_batch_start(batch, batch_idx, index)
            book.enter("predict_step")
            if context is None:
                output = step(batch, batch_idx, *which)
            else:
                with context():
                    output = step(batch, batch_idx, *which)
            book.enter(None)
            hooks.on_predict_batch_end(output, batch, batch_idx, index)
            if self.return_predictions:
                kept.append(output)
        return kept
