"""The few validation batches before training, which must leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fulmen.data.parts import flat, generators_of, remembering_parts
from fulmen.data.worker_stream import has_kept_workers, release
from fulmen.loops.metric_state import metric_states, put_metric_states
from fulmen.utilities.seed import isolate_rng
from fulmen.utilities.states import RunningStage

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop


@contextmanager
def without_trace(module: nn.Module, loaders: list[Any], device: torch.device) -> Generator[None]:
    """Puts back what a trial run of validation may change: random states, generators, buffers, metrics and workers.

    Args:
        module: The model; its buffers, submodules and TorchMetrics metrics are put back.
        loaders: The loaders whose generators are put back. Workers that would outlive the trial are ended: they have
            drawn their seeds too early.
        device: Where the model lies.
    """
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table)) for owner in module.modules() for table in (owner._buffers, owner._modules)
    ]
    metrics = metric_states(module)
    values = {buffer: buffer.clone() for buffer in module.buffers()}
    single = list(flat(loaders))
    states = {generator: generator.get_state() for loader in single for generator in generators_of(loader)}
    parts = [(part, copy.deepcopy(part.state_dict())) for loader in single for part in remembering_parts(loader)]
    rested = [loader for loader in single if not has_kept_workers(loader)]
    with isolate_rng(include_cuda=device.type != "cpu"):
        yield
    for generator, drawn in states.items():
        generator.set_state(drawn)
    for part, state in parts:
        part.load_state_dict(state)
    for loader in rested:
        release(loader)
    for table, before in tables:  # a buffer may have been replaced, by one of another size or one made for inference
        table.clear()
        table.update(before)
    with torch.no_grad():
        for buffer, value in values.items():
            buffer.copy_(value)
    put_metric_states(module, metrics)


def sanity_check(fit: FitLoop) -> None:
    """Tries a few validation batches before training, of which nothing reaches the loggers, nor training.

    Args:
        fit: The loop.
    """
    trainer = fit.trainer
    steps = trainer.num_sanity_val_steps
    # a run that goes on in an epoch has tried them, and one that is over needs them no more
    known = fit.resumed is not None and (
        fit.progress.phase not in ("between", "end") or fit.is_over(fit.progress.epoch)
    )
    if not trainer.enable_validation or steps == 0 or known:
        return
    loggers, trainer.metrics.loggers = trainer.metrics.loggers, []
    try:
        _try(fit, steps)
    finally:
        trainer.metrics.loggers = loggers


def _try(fit: FitLoop, steps: float) -> None:
    trainer = fit.trainer
    trainer.state.stage = RunningStage.SANITY_CHECKING
    fit.hooks.on_sanity_check_start()
    fit.load_validation()
    loaders = fit.validation.data.loaders
    fit.validation.sanity_batches = [min(steps, n) for n in fit.validation.data.max_batches]
    with without_trace(trainer.lightning_module, loaders, trainer.strategy.root_device):
        fit.validation.run()
    if fit.validation.data.loaders is not loaders:  # others were made meanwhile, and nobody saw where they were
        fit.validation.data.loaded_at = None
    fit.hooks.on_sanity_check_end()
    fit.validation.sanity_batches = None
    fit.metrics.reset()
    trainer.state.stage = RunningStage.TRAINING
