"""Weights that are made the mean over processes now and then, where their gradients are not."""

from __future__ import annotations

from torch.nn import Module
from torch.optim import Optimizer


def average_now_and_then(optimizer: Optimizer, module: Module, period: int, begin: int) -> None:
    """Makes a model's parameters the mean over all processes after some of an optimizer's steps.

    Args:
        optimizer: Whose steps count.
        module: The model.
        period: After how many steps.
        begin: How many steps are left out at first.
    """
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

    averager = PeriodicModelAverager(period=period, warmup_steps=begin)
    optimizer.register_step_post_hook(lambda *_: averager.average_parameters(module.parameters()))
