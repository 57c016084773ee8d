"""Epochs that compute and change no weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.data.ghost import GHOST
from fulmen.loops.manual import Manual
from fulmen.loops.optimize import Automatic
from fulmen.utilities.tree import apply_to_collection


class Forward:
    """Stands in for what steps, in an epoch of forward passes alone; batch-norm layers gather their statistics in it.

    It counts as one step, so that those who go by the number of steps see that something is new after it.

    Args:
        optimization: What steps in other epochs.
    """

    idle = ()
    share = 1.0

    def __init__(self, optimization: Automatic) -> None:
        self.optimization = optimization
        self.closed = True

    def begin_epoch(self) -> None:
        """Looks up what a pass needs."""
        self.optimization.begin_epoch()
        self.closed = True
        if isinstance(self.optimization, Manual):
            for wrapped in self.optimization.trainer.strategy._lightning_optimizers:
                wrapped._stepper = _rest

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs ``training_step`` on a batch; see ``Automatic.step``."""
        inner = self.optimization
        self.closed = last
        if batch is GHOST:
            inner.progress.steps += last
            return {}
        recipe, book = inner.recipe, inner.book
        book.hook, book.entries = "training_step", book.tables["training_step"]
        with contextlib.nullcontext() if recipe.context is None else recipe.context():
            output = recipe.step(batch, index)
            if isinstance(output, Generator):  # it yields its losses
                output = dict(output)
        book.hook = None
        inner.progress.steps += last
        if output is None or isinstance(output, Tensor):
            return {} if output is None else {"loss": output.detach()}
        return apply_to_collection(output, Tensor, torch.Tensor.detach)

    def backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> None:
        """What ``manual_backward`` means meanwhile: nothing."""

    def flush(self) -> None:
        """Counts the step, where the data ended sooner than was known."""
        if not self.closed:
            self.optimization.progress.steps += 1
            self.closed = True

    def end_epoch(self) -> None:
        """Lets go of the last batch."""
        self.optimization.end_epoch()

    def batches_in_window(self, index: int) -> int:
        """None: no gradients are gathered."""
        return 0

    def state_dict(self, failed: bool = False) -> dict[str, Any]:
        """Whether the pass is under way."""
        return {} if self.closed or failed else {"under_way": True}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.closed = not state.get("under_way", False)


def _rest(optimizer: Optimizer, closure: Callable[[], Any], **kwargs: Any) -> Any:
    """What ``optimizer.step()`` means in ``training_step`` meanwhile: nothing but the closure."""
    return closure()
