"""A run that is set up as for `fit` and its sisters, and of which nothing is left afterwards; for the tuner."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fulmen.core.module import LightningModule
from fulmen.loggers.logger import DummyLogger
from fulmen.loops.hooks import Hooks
from fulmen.loops.metrics import Metrics
from fulmen.trainer.attach import unwrap
from fulmen.trainer.execute import (
    STAGES,
    Job,
    assemble,
    backends,
    call_setup,
    call_teardown,
    let_go,
)
from fulmen.trainer.optimizers import set_up_optimizers
from fulmen.trainer.trial import RunNote
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.states import TrainerFn, TrainerStatus

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


@contextmanager
def rehearsal(trainer: Trainer, job: Job) -> Generator[LightningModule]:
    """Sets a run up, up to the point at which its loop would begin, and takes all of it back after the ``with`` block.

    Args:
        trainer: The Trainer.
        job: What would be run.

    Yields:
        The module.
    """
    model = unwrap(job.model)
    loaders = [one for given in job.loaders.values() if given is not None for one in _single(given)]
    note = RunNote(trainer, model, job.datamodule, *trainer.callbacks, trainer.strategy.precision_plugin, *loaders)
    try:
        _begin_anew(trainer, job.fn)
        with backends(trainer):
            module = assemble(trainer, job)
            fit = trainer.fit_loop
            fit.max_epochs = 1000 if fit.max_epochs is None else fit.max_epochs
            trainer.strategy.setup_environment()
            call_setup(trainer, module, job.fn)
            trainer.strategy.setup(trainer)
            trainer.hooks = Hooks(trainer, module, trainer.callbacks, trainer.logbook)
            if job.fn == TrainerFn.FITTING:
                set_up_optimizers(trainer)
            yield module
            call_teardown(trainer, module, job.fn)
    except BaseException as error:
        failure = trainer.strategy.explain(error, False)
        trainer.strategy.on_exception(failure)
        if failure is not error:
            raise failure from None
        raise
    finally:
        let_go(trainer)
        peers = trainer.strategy.peers
        note.put_back()
        if peers is not None:
            peers.close()


def _begin_anew(trainer: Trainer, fn: TrainerFn) -> None:
    """Gives the Trainer counts and loops that serve this run alone, and loggers that keep nothing."""
    for name in ("fit_loop", "validate_loop", "test_loop", "predict_loop"):
        trainer.__dict__.pop(name, None)
    progress = replace(trainer.progress, phase="between", batch=0, epoch_done=False)
    metrics = Metrics(progress)
    metrics.log_every_n_steps = trainer.metrics.log_every_n_steps
    state = copy.copy(trainer.state)
    state.fn, state.status, state.stage = fn, TrainerStatus.RUNNING, STAGES[fn]
    trainer.__dict__.update(
        state=state, progress=progress, metrics=metrics, should_stop=False, _profiler=None, _ckpt_path=None
    )
    trainer.loggers = [DummyLogger()] if trainer.loggers else []


def _single(given: Any) -> list[Any]:
    combined = given if isinstance(given, CombinedLoader) else CombinedLoader(given)
    return combined.flattened
