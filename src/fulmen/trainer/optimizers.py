"""The optimizers and schedulers of a run: asked for, and wrapped for those who see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.core.named_optimizers import has_scheduler, named_optimizers
from fulmen.core.optimizer import LightningOptimizer
from fulmen.core.optimizer_config import read_optimizers
from fulmen.loops.watch import watch_hook

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer
    from fulmen.utilities.types import LRSchedulerConfig


def set_up_optimizers(trainer: Trainer) -> None:
    """Asks the module for its optimizers, by way of the strategy, and lets the precision see them."""
    strategy = trainer.strategy
    strategy._optimizer_names = strategy._scheduler_names = ()
    strategy.setup_optimizers(trainer)
    wrapped = [one.optimizer for one in strategy._lightning_optimizers]
    if [id(one) for one in wrapped] != [id(one) for one in strategy.optimizers]:  # a strategy of the user's made them
        strategy._lightning_optimizers = _wrapped(strategy.optimizers, trainer.lightning_module)
    strategy.setup_precision_plugin()


def configured_optimizers(trainer: Any) -> tuple[list[Optimizer], list[LRSchedulerConfig], list[LightningOptimizer]]:
    """What the module's ``configure_optimizers`` returns now, in one form, and the optimizers wrapped."""
    module = trainer.lightning_module
    returned = watch_hook(trainer, module, "configure_optimizers")()
    optimizers, configs = read_optimizers(returned, manual=not module.automatic_optimization)
    named = named_optimizers(returned) or {}
    trainer.strategy._optimizer_names = tuple(named)
    trainer.strategy._scheduler_names = tuple(name for name, one in named.items() if has_scheduler(one))
    return optimizers, configs, _wrapped(optimizers, module)


def _wrapped(optimizers: list[Optimizer], module: LightningModule) -> list[LightningOptimizer]:
    made = [LightningOptimizer(optimizer) for optimizer in optimizers]
    for one in made:
        one._module = module
    return made
