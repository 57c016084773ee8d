"""An accumulation window: several batches whose gradient must be that of one big batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from fulmen.utilities.rank_zero import warn_once
from fulmen.utilities.tree import leaves


class Window:
    """Weighs the losses of a window.

    Each loss is divided by the planned number of batches, relative to the weight of the first batch. Full windows of
    equal batches therefore need no more than that division. For all others :attr:`correction` is the factor that
    makes the gradients those of the weighted mean over the window.

    Args:
        planned: Batches in a window.
        exact: Whether to weigh and correct; without, a short window gives a gradient that is too small, as
            Lightning's does.

    Attributes:
        factor: What :meth:`share` multiplied the last loss with.
    """

    def __init__(self, planned: int, exact: bool = True) -> None:
        self.planned = planned
        self.exact = exact
        self.factor = 1.0
        self.open()

    def open(self) -> None:
        """Begins a window."""
        self._first: float | None = None
        self._sum = 0.0
        self._kept: tuple[float | None, float, list[tuple[Parameter, Tensor | None]]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """What the batches of an open window weigh, for a checkpoint."""
        return {"planned": self.planned, "first": self._first, "sum": self._sum}

    def load_state_dict(self, state: dict[str, Any]) -> float:
        """Takes back what :meth:`state_dict` gave.

        Returns:
            What gradients gathered so far have to be multiplied with, if another number of batches is planned now.
        """
        self._first, self._sum = state["first"], state["sum"]
        return float(state["planned"]) / self.planned

    @property
    def weights(self) -> tuple[float, float]:
        """What its first batch weighs, and all of them together; zeros where there was none."""
        return self._first or 0.0, self._sum

    def agree(self, first: float, total: float) -> float:
        """Takes over weights that several processes have agreed on.

        Args:
            first: What a first batch weighs.
            total: What all batches of a process weigh on average.

        Returns:
            What gradients gathered so far have to be multiplied with.
        """
        own = self._first
        self._first, self._sum = first, total
        return 1.0 if own is None else own / first

    def share(self, loss: Tensor, weight: float | None, batch: Any) -> Tensor:
        """A batch's part of the window's loss.

        Args:
            loss: The mean loss of the batch.
            weight: How many samples or tokens it is the mean of; None reads the batch size off the batch, where its
                tensors agree on it.
            batch: The batch.

        Returns:
            The loss to call backward on.
        """
        loss = loss / self.planned
        self.factor = 1 / self.planned
        if not self.exact:
            return loss
        if weight is None:
            weight = size_of(batch) or self._first or 1.0
        if self._first is None and weight > 0:
            self._first = weight
        self._sum += weight
        if weight == 0:
            self.factor = 0.0
            return loss * 0
        if self._first is not None and weight != self._first:
            loss = loss * (weight / self._first)
            self.factor *= weight / self._first
        return loss

    def skip(self, batch: Any) -> float:
        """Takes note of a batch that ``training_step`` has skipped.

        Returns:
            What it counts in the window nevertheless.
        """
        return 0.0

    def pass_over(self) -> None:
        """Takes part in a batch of other processes, without one."""

    def keep(self, optimizer: Optimizer) -> None:
        """Notes what the batches before the closing one have gathered, for an optimizer that computes that one again.

        Args:
            optimizer: Whose gradients.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [(p, None if p.grad is None else p.grad.clone()) for p in parameters]
        self._kept = (self._first, self._sum, gradients)

    def restore(self) -> None:
        """Goes back to what :meth:`keep` noted, so that computing a batch again does not count it twice."""
        if self._kept is not None:
            self._first, self._sum, gradients = self._kept
            for parameter, gradient in gradients:
                parameter.grad = None if gradient is None else gradient.clone()

    @property
    def correction(self) -> float:
        """What the summed gradients must be multiplied with before they are clipped and used."""
        if not self.exact or self._first is None:
            return 1.0
        return self.planned * self._first / self._sum


def size_of(batch: Any) -> float | None:
    """The number of samples in a batch, where all of its tensors agree on it."""
    sizes = {leaf.shape[0] for leaf in leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim > 0}
    if len(sizes) > 1:
        warn_once(
            "The batches of an accumulation window count the same: their tensors differ in length, so the number of "
            'samples cannot be read off them. Return `{"loss": loss, "loss_weight": number_of_samples}` from '
            "`training_step` to weigh them."
        )
    return float(sizes.pop()) if len(sizes) == 1 else None


def scale_gradients(optimizer: Optimizer, factor: float) -> None:
    """Multiplies the gradients of an optimizer's parameters, in place."""
    if factor != 1.0:
        for gradients in _by_device(p.grad for group in optimizer.param_groups for p in group["params"]):
            torch._foreach_mul_(gradients, factor)


def _by_device(gradients: Iterable[Tensor | None]) -> Iterator[list[Tensor]]:
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in gradients:
        if gradient is not None:
            groups.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    yield from groups.values()
