"""Validation and testing: one pass over each loader, without gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from fulmen.core.hooks import keep_modes
from fulmen.core.module import LightningModule
from fulmen.data.epochs import set_epoch
from fulmen.data.feed import Feed
from fulmen.data.loaders import as_sequence, check_loader, length_of, planned_batches, prepare, processed
from fulmen.data.parts import flat
from fulmen.data.sharding import Share, way_of
from fulmen.loops.company import Company, make_feed
from fulmen.loops.inside import EvaluationViews
from fulmen.loops.recipe import step_context, step_function
from fulmen.loops.result_state import dump_results, load_results
from fulmen.loops.results import Results
from fulmen.loops.source import LoaderSource
from fulmen.loops.transfer import plan_transfer
from fulmen.loops.watch import watch_feed, watch_strategy, watch_transfer
from fulmen.strategies.exchange import exchange
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.generations import taught
from fulmen.utilities.states import RunningStage, TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

Outputs = list[dict[str, float]]
_LAST = 2**53  # behind every batch of a loader


def evaluation_mode(trainer: Trainer) -> AbstractContextManager[Any]:
    """The context without gradients that evaluation runs in.

    Inside `fit` it is ``no_grad``: what validation makes or puts into buffers must be fit for training.
    """
    fitting = trainer.state.fn == TrainerFn.FITTING
    return torch.inference_mode() if trainer.inference_mode and not fitting else torch.no_grad()


class LoaderSet:
    """The loaders of an evaluation stage and how many batches of each are to be run.

    Args:
        trainer: Whose limits.
        stage: ``"val"``, ``"test"`` or ``"predict"``.
    """

    def __init__(self, trainer: Trainer, stage: str) -> None:
        self.trainer = trainer
        self.stage = stage
        self.source = LoaderSource(f"{stage}_dataloader")
        self.original: Any = None
        self.loaders: list[Any] = []
        self.max_batches: list[int | float] = []
        self.own_batches: list[int | float] = []  # where the data shard themselves
        self.divided: set[int] = set()  # loaders of data that do
        self.elsewhere: set[int] = set()  # loaders of which only other processes have batches
        self.loaded_at: int | None = None

    def attach(self, *owners: Any) -> None:
        """Takes note of where loaders come from; see ``LoaderSource.attach``."""
        self.source.attach(*owners)
        self.loaders, self.max_batches, self.loaded_at, self.original = [], [], None, None

    @property
    def limit(self) -> int | float:
        """The Trainer's limit for this stage."""
        return getattr(self.trainer, f"limit_{self.stage}_batches")  # type: ignore[no-any-return]

    def load(self) -> None:
        """Asks for the loaders, where that was not done yet or they are to be made anew."""
        every = self.trainer.reload_dataloaders_every_n_epochs
        epoch = self.trainer.current_epoch
        stale = bool(every) and self.loaded_at is not None and epoch - self.loaded_at >= every
        if self.loaded_at is not None and not (stale and self.stage == "val"):
            return
        if self.limit == 0 or not self.source.defined:
            return
        self.loaded_at = epoch
        self.original = self.source.request(self.trainer)
        check_loader(self.original, self.source.hook)
        overfit, rank = self.trainer.overfit_batches > 0, self.trainer.global_rank
        self.loaders = [
            processed(prepare(one, stage=self.stage, overfit=overfit, rank=rank), self.trainer.strategy)
            for one in as_sequence(self.original)
        ]
        flag = "overfit_batches" if overfit and self.stage == "val" else f"limit_{self.stage}_batches"
        self.max_batches = [planned_batches(length_of(loader), self.limit, flag) for loader in self.loaders]
        if self.trainer.strategy.world_size > 1:
            self._share(flag)

    def _share(self, flag: str) -> None:
        """Plans how many batches this process reads where its data are another's only in part."""
        strategy, limit = self.trainer.strategy, self.limit
        share = Share(strategy.global_rank, strategy.world_size)
        part = int(share.part_of(limit)) if isinstance(limit, int) else limit
        lengths = [length_of(loader) for loader in self.loaders]
        self.own_batches = [planned_batches(length, part, flag) for length in lengths]
        everywhere = exchange(strategy, lengths)
        if len(set(map(len, everywhere))) > 1:
            raise MisconfiguredValue(
                "Every process goes over the same loaders.",
                got=f"{', '.join(str(len(one)) for one in everywhere)} loaders, by rank",
                fix=f"Return as many loaders from `{self.source.hook}` on every rank, empty ones if need be.",
            )
        self.divided, self.elsewhere = set(), set()
        for index, each in enumerate(zip(*everywhere, strict=True)):
            divided = not self.trainer.use_distributed_sampler or way_of(self.loaders[index]) == "own"
            if divided or len(set(each)) > 1:  # nobody gives others more of the same data
                self.divided.add(index)
                self.max_batches[index] = self.own_batches[index]
            if not self.max_batches[index] and any(each):
                self.elsewhere.add(index)

    @property
    def empty(self) -> bool:
        """Whether no process has a batch."""
        return not any(self.max_batches) and not self.elsewhere

    def runs(self, index: int) -> bool:
        """Whether any process has a batch of a loader."""
        return bool(self.max_batches[index]) or index in self.elsewhere


@taught
class EvaluationLoop(EvaluationViews):
    """Runs ``validation_step`` or ``test_step`` over the stage's loaders.

    Args:
        trainer: The Trainer.
        stage: ``"validate"`` or ``"test"``.
    """

    def __init__(self, trainer: Trainer, stage: str) -> None:
        self.trainer = trainer
        self.event = {"validate": "validation", "test": "test"}[stage]
        self.stage = RunningStage.VALIDATING if stage == "validate" else RunningStage.TESTING
        self.data = LoaderSet(trainer, {"validate": "val", "test": "test"}[stage])
        self.results: Results | None = None
        self.seen: dict[int, int] = {}
        self.sanity_batches: list[int | float] | None = None
        self.saved: dict[str, Any] | None = None
        self.feed: Feed | None = None
        self.loader_index = self.batches_done = 0
        self.published = True
        self.inherited: list[Any] = []
        self.company: Company | None = None

    @property
    def max_batches(self) -> list[int | float]:
        """Batches to run of each loader."""
        return self.data.max_batches if self.sanity_batches is None else self.sanity_batches

    def prepare(self) -> None:
        """Resolves what a pass needs, at the start of a run."""
        trainer = self.trainer
        module: LightningModule = trainer.lightning_module
        self.module = module
        strategy = trainer.strategy
        self.company = Company.of(trainer)
        self.results = Results(module, False, strategy.root_device, strategy.global_rank, strategy.world_size)
        plan = plan_transfer(module, trainer.datamodule, trainer.strategy, self.data.source.hook)
        self.transfer = watch_transfer(trainer, plan)
        context = {"validation": "val_step_context", "test": "test_step_context"}[self.event]
        self.context = step_context(strategy, f"{self.event}_step", context)
        self.seen = {}

    def step_function(self) -> Callable[..., Any]:
        """The module's step, for the arguments that it will get.

        Raises:
            MisconfigurationException: If it cannot take them.
        """
        arguments = 3 if len(self.max_batches) > 1 else 2
        return step_function(self.module, f"{self.event}_step", arguments, self.trainer.strategy)

    def run(self, saved: dict[str, Any] | None = None) -> Outputs:
        """One pass over all loaders.

        Args:
            saved: What :meth:`state_dict` gave in an earlier run, to go on there.

        Returns:
            For each loader the epoch's values by key.
        """
        trainer, hooks, module = self.trainer, self.trainer.hooks, self.module
        with torch.no_grad():
            self.data.load()
        if self.data.empty:
            return []
        if saved is not None and saved.get("world", 1) != trainer.strategy.world_size:
            self._forget(saved)
            saved = None
        results, book, metrics = self.results, trainer.logbook, trainer.metrics
        assert results is not None
        several = len(self.max_batches) > 1
        step = watch_strategy(trainer, f"{self.event}_step", self.step_function())
        company = self.company
        with evaluation_mode(trainer), nullcontext() if company is None else company.noting():
            keep_modes(module)
            getattr(module, f"on_{self.event}_model_eval")()
            if company is not None:
                company.begin(saved["steps"] if saved is not None else None)
            self.saved = saved
            if saved is None:
                results.reset()
                book.open(results)
                metrics.watch(results, "step")
                getattr(hooks, f"on_{self.event}_start")()
                getattr(hooks, f"on_{self.event}_epoch_start")()
            else:
                self._restore(saved)
            for index, limit in enumerate(self.max_batches):
                if self.data.runs(index) and (self.saved is None or index >= self.saved["loader"]):
                    self._run_loader(index, limit, several, step)
            book.open(results)
            results.in_batch = False
            metrics.watch(results, "epoch")
            if company is not None:
                company.reduce(results, last=False)
            getattr(hooks, f"on_{self.event}_epoch_end")()
            if company is not None:
                company.reduce(results)
            outputs = self._publish(several)
            metrics.watch(None)
            self._note_end()
            getattr(hooks, f"on_{self.event}_end")()
            book.open(None)
            results.reset()
            getattr(module, f"on_{self.event}_model_train")()
        return outputs

    def _note_end(self) -> None:
        """Takes note that a validation inside `fit` is over, for those who save at its end."""
        progress = self.trainer.progress
        if self.trainer.state.fn == TrainerFn.FITTING and self.sanity_batches is None:
            progress.phase = "validated"

    def _restore(self, saved: dict[str, Any]) -> None:
        results, book, metrics = self.results, self.trainer.logbook, self.trainer.metrics
        assert results is not None
        results.reset()
        load_results(results, saved["results"])
        self.seen = {int(index): count for index, count in saved["seen"].items()}
        book.open(results)
        metrics.watch(results, "step")

    def _forget(self, saved: dict[str, Any]) -> None:
        """Forgets a pass that other processes began, in which this one has no place: it begins at its start.

        Args:
            saved: What :meth:`state_dict` gave.
        """
        assert self.results is not None
        load_results(self.results, saved["results"])
        self.results.reset()  # and so the metrics that were logged

    def state_dict(self) -> dict[str, Any]:
        """Where a pass is, after one of its batches."""
        assert self.results is not None
        return {
            "world": self.trainer.strategy.world_size,
            "steps": self.company.steps if self.company is not None else {},
            "loader": self.loader_index,
            "published": self.published,
            "feed": self.feed.state_dict(self.batches_done) if self.feed is not None else None,
            "results": dump_results(self.results),
            "seen": {str(index): count for index, count in self.seen.items()},
        }

    def _run_loader(self, index: int, limit: int | float, several: bool, step: Callable[..., Any]) -> None:
        trainer, hooks, results = self.trainer, self.trainer.hooks, self.results
        assert results is not None
        book, transfer, context, signals = trainer.logbook, self.transfer.apply, self.context, trainer.signals
        together = trainer.strategy.peers is not None and trainer.state.fn == TrainerFn.FITTING
        event, name = self.event, f"{self.event}_step"
        on_start, on_end = getattr(hooks, f"on_{event}_batch_start"), getattr(hooks, f"on_{event}_batch_end")
        which = (index,) if several else ()
        book.open(results, index if several else None)
        set_epoch(self.data.loaders[index], trainer.current_epoch)
        company, peers = self.company, trainer.strategy.peers
        if company is not None:
            step = company.watched(step)
        saved = self.saved if self.saved is not None and self.saved["loader"] == index else None
        self.feed = feed = self._feed(index, limit, saved)
        batches = watch_feed(trainer, f"[_EvaluationLoop].{self.data.stage}_next", feed)
        self.loader_index, self.batches_done = index, feed.begun
        if trainer.state.fn == TrainerFn.FITTING and self.sanity_batches is None:
            trainer.progress.phase = "validation"  # before, what is saved lets it begin at its start
        if saved is not None and not saved["published"]:
            self._publish_step(index if several else None, index)
        batch = None
        with closing(feed):
            for batch, batch_idx in zip(batches, feed.numbers()):
                if transfer is not None:
                    batch = transfer(batch, index)
                results.begin_batch(batch, batch_idx)
                on_start(batch, batch_idx, index)
                book.enter(name)
                if context is None:
                    output = step(batch, batch_idx, *which)
                else:
                    with context():
                        output = step(batch, batch_idx, *which)
                book.enter(None)
                self.batches_done += 1
                self.published = False
                on_end(output, batch, batch_idx, index)
                self._publish_step(index if several else None, index)
                if together or signals.received:
                    signals.check(trainer, (trainer.progress.batches, 1, index, self.batches_done))
                elif peers is not None:
                    peers.marked = True
        if together:
            signals.check(trainer, (trainer.progress.batches, 1, index, _LAST))
        if company is not None:
            company.batches[index if several else None] = self.batches_done
            company.keep_step(name, feed, self.batches_done, step, batch, which)
        if several and self.sanity_batches is None:
            trainer.metrics.collect(results.entries_of(index), on_step=False, training=False)

    def _feed(self, index: int, limit: int | float, saved: dict[str, Any] | None) -> Feed:
        own = self.data.own_batches
        return make_feed(
            self.trainer,
            self.data.loaders[index],
            limit,
            own[index] if own and self.sanity_batches is None else None,
            index in self.data.divided,
            device=self.transfer.device,
            fast=self.trainer.fast_data,
            saved=saved["feed"] if saved is not None else None,
            inherited=self._inheritance(index),
        )

    def _inheritance(self, index: int) -> list[Any] | None:
        """What is to be known, once, of workers of an earlier run that lived on between its passes."""
        before = sum(len(list(flat([loader]))) for loader in self.data.loaders[:index])
        count = len(list(flat([self.data.loaders[index]])))
        heirs = self.inherited[before : before + count]
        self.inherited[before : before + count] = [None] * len(heirs)
        return heirs if any(heirs) else None

    def _publish_step(self, table: int | None, index: int) -> None:
        """Sends what was logged with ``on_step=True``; its x axis counts this loader's batches over the whole run."""
        assert self.results is not None
        self.published = True
        seen = self.seen.get(index, 0)
        if self.sanity_batches is None:
            self.seen[index] = seen + 1
        entries = [entry for entry in self.results.entries_of(table) if entry.on_step]
        if self.company is not None and self.sanity_batches is None:
            entries = self.company.hold(entries, table, seen)
        if entries:
            metrics = self.trainer.metrics
            metrics.send(metrics.collect(entries, on_step=True, training=False), seen, epoch=False)

    def _publish(self, several: bool) -> Outputs:
        """Makes the epoch's values known, sends them to the loggers, and returns them for each loader."""
        metrics, results = self.trainer.metrics, self.results
        assert results is not None
        everywhere = metrics.collect(results.entries_of(None), on_step=False, training=False)
        each = [everywhere]
        if several:
            each = [
                {**metrics.collect(results.entries_of(index), on_step=False, training=False), **everywhere}
                for index in range(len(self.max_batches))
            ]
        if self.sanity_batches is None:
            merged = dict(itertools.chain.from_iterable(values.items() for values in each))
            metrics.send(merged, metrics.progress.windows)
        return [{key: value.item() for key, value in values.items()} for values in each]
