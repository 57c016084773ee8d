"""The few validation batches before training, which must leave no trace."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fulmen.loops.entries import is_metric
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.seed import isolate_rng
from fulmen.utilities.tree import leaves


def _generators(loaders: Any) -> Iterator[torch.Generator]:
    flat = loaders.flattened if isinstance(loaders, CombinedLoader) else list(leaves(loaders))
    for loader in flat:
        sampler = getattr(loader, "sampler", None)
        batch_sampler = getattr(loader, "batch_sampler", None)
        for owner in (loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                yield generator


@contextmanager
def without_trace(module: nn.Module, loaders: list[Any], device: torch.device) -> Generator[None]:
    """Puts back what a trial run of validation may change: random states, generators, buffers and metrics.

    Args:
        module: The model; its buffers are kept and its TorchMetrics metrics reset.
        loaders: The loaders whose generators are put back.
        device: Where the model lies.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    states = {generator: generator.get_state() for generator in _generators(loaders)}
    with isolate_rng(include_cuda=device.type != "cpu"):
        yield
    for generator, state in states.items():
        generator.set_state(state)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name in buffers and buffers[name].shape == buffer.shape:
                buffer.copy_(buffers[name])
    for child in module.modules():
        if is_metric(child):
            child.reset()  # type: ignore[operator]
