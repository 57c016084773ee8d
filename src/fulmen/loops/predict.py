"""Prediction: one pass over each loader, keeping what ``predict_step`` returns."""

from __future__ import annotations

from collections import deque
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from fulmen.core.hooks import keep_modes, restore_modes
from fulmen.core.module import LightningModule
from fulmen.data.feed import Feed
from fulmen.loops.company import Company, make_feed
from fulmen.loops.evaluate import LoaderSet, evaluation_mode
from fulmen.loops.gathering import gather_predictions
from fulmen.loops.inside import PassViews
from fulmen.loops.recipe import step_context, step_function
from fulmen.loops.transfer import plan_transfer
from fulmen.loops.watch import watch_feed, watch_strategy, watch_transfer
from fulmen.utilities.generations import taught
from fulmen.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


@taught
class PredictionLoop(PassViews):
    """Runs ``predict_step`` over the stage's loaders.

    Args:
        trainer: The Trainer.

    Attributes:
        current_batch_indices: Which samples the running batch is made of; empty where that is not known or nobody
            writes predictions.
        epoch_batch_indices: For each loader those of all batches so far.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.data = LoaderSet(trainer, "predict")
        self.return_predictions = True
        self.loader_index = self.batches_done = 0
        self.current_batch_indices: list[int] = []
        self.epoch_batch_indices: list[list[list[int]]] = []
        self._predictions: list[list[Any]] = []
        self._numbers: list[list[int]] = []
        self._keeps = self._notes = False
        self.company: Company | None = None

    @property
    def max_batches(self) -> list[int | float]:
        """Batches to run of each loader."""
        return self.data.max_batches

    @property
    def predictions(self) -> list[Any]:
        """What the steps returned so far: a list, or a list of lists where there are several loaders."""
        return self._predictions[0] if len(self.max_batches) == 1 and self._predictions else self._predictions

    def prepare(self) -> None:
        """Resolves what a pass needs, at the start of a run."""
        trainer = self.trainer
        self.module: LightningModule = trainer.lightning_module
        plan = plan_transfer(self.module, trainer.datamodule, trainer.strategy, "predict_dataloader")
        self.transfer = watch_transfer(trainer, plan)
        self.context = step_context(trainer.strategy, "predict_step", "predict_step_context")
        self.company = Company.of(trainer)
        wishes = {wish for callback in trainer.callbacks for wish in getattr(callback, "predictions_wanted", ())}
        self._notes = bool(wishes)
        self._keeps = self.return_predictions or "epoch" in wishes
        self._on_device = trainer.strategy.root_device.type != "cpu"  # whose memory is not for what is kept

    def run(self) -> list[Any] | None:
        """One pass over all loaders.

        Returns:
            What the steps returned: a list, or a list of lists where there are several loaders. None if predictions
            are not to be kept or there was nothing to predict.
        """
        trainer, hooks, module = self.trainer, self.trainer.hooks, self.module
        with torch.no_grad():
            self.data.load()
        if self.data.empty:
            return None
        self._predictions, self._numbers, self.epoch_batch_indices = [], [], []
        company = self.company
        with evaluation_mode(trainer), nullcontext() if company is None else company.noting():
            keep_modes(module)
            module.on_predict_model_eval()
            trainer.logbook.open(None)
            hooks.on_predict_start()
            hooks.on_predict_epoch_start()
            for index in range(len(self.max_batches)):
                if self.data.runs(index):
                    self._run_loader(index)
            hooks.on_predict_epoch_end()
            if company is not None and self.return_predictions:
                kept = zip(self._predictions, self._numbers, strict=True)
                self._predictions = [gather_predictions(trainer.strategy, *one) for one in kept]
            hooks.on_predict_end()
            restore_modes(module)
        predictions = self.predictions
        self._predictions, self.epoch_batch_indices, self.current_batch_indices = [], [], []
        return predictions if self.return_predictions else None

    def _run_loader(self, index: int) -> None:
        trainer, hooks, book = self.trainer, self.trainer.hooks, self.trainer.logbook
        transfer, context = self.transfer.apply, self.context
        which, peers = (index,) if len(self.max_batches) > 1 else (), trainer.strategy.peers
        step = step_function(self.module, "predict_step", 2 + len(which), trainer.strategy)
        step = watch_strategy(trainer, "predict_step", step)
        kept: list[Any] = []
        numbers: list[int] = []
        self._predictions.append(kept)
        self._numbers.append(numbers)
        feed, company, batch = self._feed(index), self.company, None
        if company is not None:
            company.begin()
            step = company.watched(step)
        notes = self._open_notes(feed)
        self.loader_index, self.batches_done = index, 0
        batches = watch_feed(trainer, "[_PredictionLoop].predict_next", feed)
        with closing(feed):  # workers of a pass that is not read to its end would live on
            for batch, batch_idx in zip(batches, feed.numbers()):
                if notes is not None:
                    self._take(notes)
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
                self.batches_done += 1
                hooks.on_predict_batch_end(output, batch, batch_idx, index)
                if self._keeps:
                    kept.append(move_data_to_device(output, "cpu") if self._on_device else output)
                    numbers.append(batch_idx)
                if peers is not None:
                    peers.marked = True
        if company is not None:
            company.keep_step("predict_step", feed, self.batches_done, step, batch, which)

    def _feed(self, index: int) -> Feed:
        loader, limit, own = self.data.loaders[index], self.max_batches[index], self.data.own_batches
        options: dict[str, Any] = {"device": self.transfer.device, "fast": self.trainer.fast_data}
        divided = index in self.data.divided
        return make_feed(self.trainer, loader, limit, own[index] if own else None, divided, **options)

    def _open_notes(self, feed: Feed) -> deque[Any] | None:
        """Where the indices of a loader's batches will lie, if somebody wants them and they can be known."""
        self.current_batch_indices = []
        if not self._notes:
            return None
        self.epoch_batch_indices.append([])
        return feed.note_indices()

    def _take(self, notes: deque[Any]) -> None:
        """Takes the indices of the batch that has come."""
        self.current_batch_indices = notes.popleft()
        self.epoch_batch_indices[-1].append(self.current_batch_indices)
