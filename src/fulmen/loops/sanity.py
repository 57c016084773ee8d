"""The few validation batches before training, which must leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fulmen.loops.entries import is_metric
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.seed import isolate_rng


def _flat(loaders: list[Any]) -> Iterator[Any]:
    for loader in loaders:
        yield from loader.flattened if isinstance(loader, CombinedLoader) else [loader]


def _generators(loaders: list[Any]) -> Iterator[torch.Generator]:
    for loader in _flat(loaders):
        batch_sampler = getattr(loader, "batch_sampler", None)
        parts = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        for owner in (*parts, getattr(loader, "dataset", None)):
            for value in getattr(owner, "__dict__", {}).values():
                if isinstance(value, torch.Generator):
                    yield value


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
    metrics = {child: _metric_state(child) for child in module.modules() if is_metric(child)}
    values = {buffer: buffer.clone() for buffer in module.buffers()}
    states = {generator: generator.get_state() for generator in _generators(loaders)}
    rested = [loader for loader in _flat(loaders) if getattr(loader, "_iterator", loader) is None]
    with isolate_rng(include_cuda=device.type != "cpu"):
        yield
    for generator, drawn in states.items():
        generator.set_state(drawn)
    for loader in rested:
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()
            loader._iterator = None
    for table, before in tables:  # a buffer may have been replaced, by one of another size or one made for inference
        table.clear()
        table.update(before)
    with torch.no_grad():
        for buffer, value in values.items():
            buffer.copy_(value)
    for metric, state in metrics.items():
        metric.__dict__.update(state)


def _metric_state(metric: Any) -> dict[str, Any]:
    names = (*metric._defaults, "_update_count", "_computed", "_forward_cache")
    return copy.deepcopy({name: metric.__dict__[name] for name in names if name in metric.__dict__})
