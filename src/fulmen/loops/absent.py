"""Batches that give a process no loss, while others may have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fulmen.loops.window import Window

if TYPE_CHECKING:
    from fulmen.loops.progress import Progress
    from fulmen.strategies.strategy import Strategy
    from fulmen.strategies.tally import Tally


class Absent:
    """Sees to it that what all processes skip counts as it does on one.

    Which batches others have skipped is not known when gradients are brought together. A process that has skipped one
    says so before, and asks afterwards whether all others have, too: those that skip nothing neither wait nor pay. Only
    where all have skipped something do all know it, and they add up what was left.

    Args:
        strategy: How the processes agree.
        module: The model.
        progress: The counts of the run, the same on all processes.

    Attributes:
        batches: Those of the open window that gave this process no loss, by index: what each counts in the window.
        updates: How often gradients were brought together; an optimizer may have that done several times a step.
    """

    def __init__(self, strategy: Strategy, module: nn.Module, progress: Progress) -> None:
        self.strategy, self.module, self.progress = strategy, module, progress
        self.batches: dict[int, float] = {}
        self.updates = 0
        self._tally: Tally | None = None
        self._without: list[nn.Parameter] = []  # those that had no gradient before

    def say(self) -> None:
        """Says that this process has skipped something, before the gradients of a window are brought together."""
        self._without = [parameter for parameter in self.module.parameters() if parameter.grad is None]
        self._tally = self._tally or self.strategy.open_tally()
        if self._tally is not None:
            self._tally.say(f"{self.progress.steps}.{self.updates}")

    def settle(self, window: Window, count: int) -> None:
        """Corrects the window after that, if all have skipped something.

        Args:
            window: The window.
            count: How many batches there were in it.
        """
        if self._tally is None or not self._tally.is_unanimous():
            return
        first, counted = window.weights
        own = [float(count - len(self.batches)), counted - sum(self.batches.values())]
        given, total = self.strategy.combine_numbers(own, "sum")
        if given:
            window.agree(first, total / self.strategy.world_size)
        else:  # nobody had a loss: as on one process, nothing is left to step on
            for parameter in self._without:
                parameter.grad = None


def mean_loss(compute: Callable[[], Tensor | None], strategy: Strategy) -> Tensor:
    """The loss for an optimizer that decides by it: the mean over processes, to which the gradients belong.

    Args:
        compute: Computes this process's loss, and the gradients of all.
        strategy: How the processes agree.
    """
    loss = compute()
    (total,) = strategy.combine_numbers([0.0 if loss is None else float(loss.detach())], "sum")
    return torch.tensor(total / strategy.world_size, dtype=torch.float64)
