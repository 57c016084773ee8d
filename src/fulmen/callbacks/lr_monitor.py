"""Logs the learning rates of all optimizers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.optim import Optimizer

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class LearningRateMonitor(Callback):
    """Sends learning rates to the loggers: ``lr-Adam``, ``lr-Adam/pg2``, or by the name in the scheduler's config.

    An optimizer with several groups of parameters has a line for each, named by the group's ``"name"`` if it has one.
    A second optimizer of a class is counted: ``lr-Adam-1``. Optimizers that `configure_optimizers` names are called by
    these names: ``lr-generator``.

    Args:
        logging_interval: ``"step"`` or ``"epoch"``; None logs each rate when its scheduler steps, and those without a
            scheduler at both. Steps are logged as often as the Trainer logs (``log_every_n_steps``).
        log_momentum: Whether to log momentum (or the first beta) too, as ``lr-SGD-momentum``.
        log_weight_decay: Whether to log weight decay too, as ``lr-SGD-weight_decay``.

    Attributes:
        lrs: For each name the rates that were logged.
        last_momentum_values: For each name the momentum that was logged last.
        last_weight_decay_values: For each name the weight decay that was logged last.

    Raises:
        MisconfigurationException: If `logging_interval` is something else, or when training starts, if there is no
            logger, or two groups of an optimizer have one name.

    Example:
        >>> monitor = LearningRateMonitor(logging_interval="step")
    """

    def __init__(
        self,
        logging_interval: Literal["step", "epoch"] | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
    ) -> None:
        super().__init__()
        if logging_interval not in (None, "step", "epoch"):
            raise MisconfigurationException(
                "`LearningRateMonitor(logging_interval=...)` says when to log.",
                got=logging_interval,
                fix='Pass "step", "epoch", or None to log when schedulers step.',
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.lrs: dict[str, list[float]] = {}
        self.last_momentum_values: dict[str, float | None] = {}
        self.last_weight_decay_values: dict[str, float | None] = {}

    def listens_to(self, event: str) -> bool:
        """Batches matter only where rates are logged by step."""
        return event != "on_train_batch_start" or self.logging_interval != "epoch"

    def on_train_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Checks that there is something to log to, and finds the names."""
        if not trainer.loggers:
            raise MisconfigurationException(
                "`LearningRateMonitor` needs a logger, and the Trainer has none.",
                fix="Pass `Trainer(logger=True)` or a logger of your choice, or remove the callback.",
            )
        for _, optimizer, name in _named(trainer):
            for group_name in _group_names(optimizer, name):
                self.lrs.setdefault(group_name, [])
                self.last_momentum_values.setdefault(f"{group_name}-momentum", None)
                self.last_weight_decay_values.setdefault(f"{group_name}-weight_decay", None)

    def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Logs the rates that change by step."""
        if trainer.should_log:
            self._log(trainer, "step")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Logs the rates that change by epoch."""
        if self.logging_interval != "step":
            self._log(trainer, "epoch")

    def _log(self, trainer: Trainer, interval: str) -> None:
        values: dict[str, float] = {}
        for steps, optimizer, name in _named(trainer):
            if self.logging_interval is None and steps not in (interval, "any"):
                continue
            self._follow_groups(optimizer, name)
            for group_name, group in zip(_group_names(optimizer, name), optimizer.param_groups, strict=True):
                values.update(self._take(group_name, group))
        if not values:
            return
        trainer.log_metrics(values)
        device = trainer.strategy.root_device
        trainer.callback_metrics.update({key: torch.tensor(value, device=device) for key, value in values.items()})

    def _follow_groups(self, optimizer: Optimizer, name: str) -> None:
        # A group that was added in the course of training gives the first a new name: its history comes along.
        if len(optimizer.param_groups) > 1 and name in self.lrs:
            self.lrs[_group_names(optimizer, name)[0]] = self.lrs.pop(name)

    def _take(self, name: str, group: dict[str, Any]) -> Iterator[tuple[str, float]]:
        rate = _number(group["lr"])
        self.lrs.setdefault(name, []).append(rate)
        yield name, rate
        if self.log_momentum:
            key = f"{name}-momentum"
            momentum = _number(group["betas"][0] if "betas" in group else group.get("momentum", 0))
            self.last_momentum_values[key] = momentum
            yield key, momentum
        if self.log_weight_decay:
            key = f"{name}-weight_decay"
            decay = _number(group.get("weight_decay", 0))
            self.last_weight_decay_values[key] = decay
            yield key, decay


def _number(value: Any) -> Any:
    # A rate that is a tensor changes in place, and all of its history would with it.
    return value.item() if isinstance(value, torch.Tensor) else value


def _named(trainer: Trainer) -> Iterator[tuple[str, Optimizer, str]]:
    """For each scheduler, and each optimizer without one: when it steps, the optimizer, and its name."""
    seen: Counter[str] = Counter()
    scheduled: list[Optimizer] = []
    names = getattr(trainer.strategy, "_optimizer_names", ())
    given = {id(one): name for one, name in zip(trainer.optimizers, names, strict=False)}
    for config in trainer.lr_scheduler_configs:
        optimizer = config.scheduler.optimizer
        scheduled.append(optimizer)
        own = given.get(id(optimizer), type(optimizer).__name__)
        yield config.interval, optimizer, _unique(config.name or f"lr-{own}", seen)
    for optimizer in trainer.optimizers:
        if not any(optimizer is known for known in scheduled):
            yield "any", optimizer, _unique(f"lr-{given.get(id(optimizer), type(optimizer).__name__)}", seen)


def _unique(name: str, seen: Counter[str]) -> str:
    count = seen[name]
    seen[name] += 1
    return f"{name}-{count}" if count else name


def _group_names(optimizer: Optimizer, name: str) -> list[str]:
    groups = optimizer.param_groups
    given = [group.get("name") for group in groups]
    twice = sorted({str(n) for n in given if n is not None and given.count(n) > 1})
    if twice:
        raise MisconfigurationException(
            f"The groups of parameters of one optimizer ({name}) need different names to be told apart in logs.",
            got=f"twice: {', '.join(twice)}",
            fix='Change the `"name"` of one, or leave it out.',
        )
    if len(groups) == 1:
        return [name]
    return [f"{name}/{own if own is not None else f'pg{i}'}" for i, own in enumerate(given, 1)]
