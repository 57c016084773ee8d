"""Trials for finders of learning rates and batch sizes: steps after which everything is as it was before."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from fulmen.callbacks.callback import Callback
from fulmen.data.parts import remembering_parts
from fulmen.data.worker_stream import release
from fulmen.loggers.logger import DummyLogger
from fulmen.loops.evaluate import EvaluationLoop
from fulmen.loops.fit import FitLoop
from fulmen.loops.hooks import Hooks
from fulmen.loops.logbook import LogBook
from fulmen.loops.metrics import Metrics
from fulmen.loops.predict import PredictionLoop
from fulmen.loops.schedule import LearningRates
from fulmen.trainer.attach import give_run
from fulmen.trainer.optimizers import set_up_optimizers
from fulmen.trainer.signals import Signals
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.memento import Memento
from fulmen.utilities.seed import collect_rng_state, isolate_rng, set_rng_state
from fulmen.utilities.states import RunningStage, TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class RunNote:
    """What a Trainer, its module and all that belongs to them hold, to be put back.

    Args:
        trainer: The Trainer.
        roots: Where to look: modules, loaders, optimizers, callbacks.
    """

    def __init__(self, trainer: Trainer, *roots: Any) -> None:
        self._owners = [(owner, dict(owner.__dict__)) for owner in (trainer, trainer.strategy)]
        self._on_device = trainer.strategy.root_device.type != "cpu"
        leave = [trainer, trainer.strategy, trainer.logbook, trainer.__dict__.get("hooks"), *trainer.loggers]
        self._memento = Memento(roots, leave=leave)
        self._parts = [  # what cannot be looked into may know itself where it is
            (part, copy.deepcopy(part.state_dict()))
            for loader in roots
            for part in remembering_parts(loader)
            if any(part is left for left in self._memento.left)
        ]
        self._rng = collect_rng_state(include_cuda=self._on_device)

    def put_back(self) -> None:
        """Gives everybody what they held, and all generators the states that they had."""
        for owner, before in self._owners:
            owner.__dict__.clear()
            owner.__dict__.update(before)
        self._memento.put_back()
        for part, state in self._parts:
            part.load_state_dict(copy.deepcopy(state))
        set_rng_state(self._rng)


class _StopTrial(Exception):
    """A signal asked the run to stop."""


class _Watch(Callback):
    """Ends a trial that a signal interrupts, or that would never end."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._steps = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Notes how far the trial is."""
        self._steps = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Ends a trial that gets nowhere."""
        if trainer.global_step == self._steps:
            trainer.should_stop = True

    def _look(self, *args: Any) -> None:
        if self._signals.received is not None:
            raise _StopTrial

    on_train_batch_end: Any = _look
    on_validation_batch_end: Any = _look
    on_test_batch_end: Any = _look
    on_predict_batch_end: Any = _look


class Trial:
    """Steps of what a Trainer does at the moment, on loops of their own and without its callbacks and loggers.

    After each of them, and also where one fails or is interrupted, everything is as it was when the object was made:
    weights, buffers and whatever else can be reached from the module, optimizers, generators, loaders, the Trainer.

    Args:
        trainer: A Trainer in a run.

    Attributes:
        loop: The loop of the last trial.
        loaders: The single loaders that it read for what it tried.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.state = trainer.state
        fitting = trainer.state.fn == TrainerFn.FITTING
        self.trains = fitting and trainer.state.stage == RunningStage.TRAINING
        self._begins = trainer.logbook.hook == "on_fit_start"
        fit = trainer.fit_loop
        self._data: list[Any] = [fit.data, fit.validation.data] if fitting else [trainer.loop_of(self._fn).data]
        self.source = fit.data.source if self.trains else self._data[-1].source
        self.loop: Any = None
        self.loaders: list[Any] = []
        self._read: list[Any] = []
        self._loaded: Memento | None = None
        strategy = trainer.strategy
        known = list(self._known_loaders())
        for loader in known:
            _refuse_generator(loader)
        self._note = RunNote(
            trainer, trainer.lightning_module, trainer.datamodule, strategy.precision_plugin, *known,
            *strategy.optimizers, *strategy._lightning_optimizers,
            *[config.scheduler for config in strategy.lr_scheduler_configs],
        )  # fmt: skip

    @property
    def _fn(self) -> TrainerFn:
        assert self.state.fn is not None
        return self.state.fn

    def _known_loaders(self) -> Iterator[Any]:
        for data in self._data:
            held = [data.original, data.source.given, *(getattr(data, "loaders", None) or [])]
            for loaders in held:
                if loaders is not None:
                    yield from CombinedLoader(loaders).flattened if not _is_combined(loaders) else loaders.flattened

    def run(self, listener: Callback, steps: int = -1, **flags: Any) -> None:
        """Makes a trial.

        Args:
            listener: Hears of all events.
            steps: Optimizer steps to take; -1 for as many as the listener lets happen.
            **flags: Attributes of the Trainer for the time of the trial, such as ``limit_val_batches``.
        """
        trainer, signals = self.trainer, self.trainer.signals
        try:
            with torch.inference_mode(False), torch.set_grad_enabled(True):
                self._replace_parts([listener, _Watch(signals)], steps, flags)
                self._run_loop()
        except _StopTrial:
            pass
        finally:
            for loader in self._read:
                release(loader)
            if self._loaded is not None:
                self._loaded.put_back()
            self._note.put_back()
            give_run(trainer, trainer.lightning_module)
        if signals.received is not None:
            signals.obey(trainer)

    def _replace_parts(self, callbacks: list[Callback], steps: int, flags: dict[str, Any]) -> None:
        """Gives the Trainer parts that serve this trial alone."""
        trainer = self.trainer
        module, fit = trainer.lightning_module, trainer.fit_loop
        progress = replace(trainer.progress, phase="between", batch=0, epoch_done=False)
        metrics = Metrics(progress)
        metrics.load_state_dict(trainer.metrics.state_dict())
        metrics.log_every_n_steps = trainer.metrics.log_every_n_steps
        book = LogBook()
        trainer.__dict__.update(
            state=copy.copy(self.state), progress=progress, metrics=metrics, logbook=book, signals=Signals(),
            should_stop=False, _profiler=None, _callbacks=callbacks, **flags,
        )  # fmt: skip
        trainer.loggers = [DummyLogger()] if trainer.loggers else []
        last = -1 if steps == -1 else progress.steps + steps
        loop = FitLoop(trainer, progress, None, -1, None, last)
        loop.data.source, loop.validation.data.source = fit.data.source, fit.validation.data.source
        trainer.__dict__["fit_loop"] = loop
        trainer.hooks = Hooks(trainer, module, callbacks, book)
        give_run(trainer, module)

    def _run_loop(self) -> None:
        trainer = self.trainer
        fit = self.loop = trainer.fit_loop
        self.loaders, self._read, self._loaded = [], [], None
        if self.trains:
            fit.prepare()
            # the rates are the finder's, and schedulers may wait for metrics that there are not
            fit.rates, fit.schedules = LearningRates([], fit.rates.module, trainer.metrics, trainer.progress), False
            fit.data.load()
            fit.data.loader = self._own(fit.data.loader)
            self.loaders = list(self._read)
            if trainer.enable_validation:
                fit.load_validation()
                fit.validation.data.loaders = [self._own(one) for one in fit.validation.data.loaders]
        else:
            loop = self.loop = self._evaluation()
            loop.prepare()
            with torch.no_grad():
                loop.data.load()
            loop.data.loaders = [self._own(one) for one in loop.data.loaders]
            self.loaders = list(self._read)
        self._loaded = Memento(self._read, leave=[trainer, trainer.strategy, trainer.lightning_module])
        self.loop.run()

    def _evaluation(self) -> EvaluationLoop | PredictionLoop:
        trainer = self.trainer
        if self._fn == TrainerFn.FITTING:
            trainer.state.stage = RunningStage.VALIDATING
            return trainer.fit_loop.validation
        name = {"validate": "validate_loop", "test": "test_loop", "predict": "predict_loop"}[self._fn.value]
        predicts = self._fn == TrainerFn.PREDICTING
        loop = PredictionLoop(trainer) if predicts else EvaluationLoop(trainer, self._fn.value)
        loop.data.source = self.source
        if isinstance(loop, PredictionLoop):
            loop.return_predictions = False
        trainer.__dict__[name] = loop
        return loop

    def _own(self, loader: Any) -> Any:
        """A loader whose workers, if it has any, are not those that the run's loader keeps between passes."""
        if isinstance(loader, CombinedLoader):
            copied = copy.copy(loader)
            copied.flattened = [self._own(one) for one in loader.flattened]
            return copied
        if isinstance(loader, DataLoader):
            copied_loader = copy.copy(loader)
            copied_loader.__dict__["_iterator"] = None
            loader = copied_loader
        self._read.append(loader)
        return loader

    # What a finder does with what it has found.

    def remake_optimizers(self) -> bool:
        """Asks the module for its optimizers once more, where the run has not made use of them yet.

        Returns:
            Whether that was so.
        """
        if self._begins:
            with isolate_rng(include_cuda=self.trainer.strategy.root_device.type != "cpu"):
                set_up_optimizers(self.trainer)
        return self._begins

    def reload_data(self) -> None:
        """Lets the hooks of the running stage make their loaders anew."""
        for data in self._data:
            loaded = data.loaded_at is not None
            if data.source.owner is not None:
                data.loaded_at = None
                if loaded and not self._begins:
                    self._load(data)

    def _load(self, data: Any) -> None:
        trainer, fit = self.trainer, self.trainer.fit_loop
        if data is fit.validation.data:
            fit.load_validation()
            if fit.validation.sanity_batches is not None:
                steps = trainer.num_sanity_val_steps
                fit.validation.sanity_batches = [min(steps, count) for count in data.max_batches]
            return
        with torch.set_grad_enabled(self.trains):
            data.load()
        if data is fit.data and data.max_batches:
            fit.validation_plan = data.validation_plan(trainer.enable_validation)


def _is_combined(loaders: Any) -> bool:
    return isinstance(loaders, CombinedLoader)


def _refuse_generator(loader: Any) -> None:
    """Complains of what gives each batch once.

    Raises:
        MisconfigurationException: Naming what to pass.
    """
    if hasattr(loader, "__next__") and not hasattr(loader, "__dict__"):
        raise MisconfigurationException(
            "A finder tries some batches and gives them back, and an iterator gives each batch once: training would "
            "lack those.",
            got=type(loader).__name__,
            fix="Pass a `DataLoader`, a list, or an object whose `__iter__` begins anew.",
        )
