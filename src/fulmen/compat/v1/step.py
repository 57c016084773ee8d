"""What 1.x passes to ``training_step`` beside the batch and its number, and what it takes from what comes back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.compat.v1.heard import present, put, users
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.tree import apply_to_collection

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule

EXTRAS = ("optimizer_idx", "hiddens")


class FormerStep:
    """A ``training_step`` of 1.x, called with what is there at the moment.

    Args:
        module: Whose.

    Attributes:
        counted: Whether there are several optimizers, so that the step is told which.
        split: Whether batches come in splits, so that the step is told what the one before left.
        optimizer_idx: Which optimizer.
        hiddens: What the split before left, None for the first.
        left: What this one leaves.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self.counted = self.split = False
        self.optimizer_idx: int | None = None
        self.hiddens = self.left = None
        self.method = present(module, "training_step")
        method = users(module, "training_step") or self.method
        parameters = list(inspect.signature(method).parameters.values())
        self._names = [one.name for one in parameters]
        takes = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        self._places = sum(one.name not in EXTRAS for one in takes)
        self._required = sum(one.default is one.empty for one in takes)
        self._anything = any(one.kind is one.VAR_POSITIONAL for one in parameters)
        self._numbered = self._anything or (len(takes) > 1 and takes[1].name not in EXTRAS)
        self.named = {name for name in EXTRAS if name in self._names}

    @property
    def old(self) -> bool:
        """Whether the step cannot be called as today."""
        return bool(self.named) or self._required > 2

    def takes_index(self) -> bool:
        """Whether it can be told which optimizer it computes a loss for."""
        return "optimizer_idx" in self.named or self._anything or self._places > 2

    def takes_hiddens(self) -> bool:
        """Whether it can be handed what the split before left."""
        beyond = 2 + (self.counted and "optimizer_idx" not in self.named)
        return "hiddens" in self.named or self._anything or self._places > beyond

    def call(self, batch: Any, batch_idx: int) -> Any:
        """Calls it, and takes note of the hidden state that it leaves."""
        given: list[Any] = [batch, batch_idx] if self._numbered else [batch]
        named: dict[str, Any] = {}
        for name, value, passed in (
            ("optimizer_idx", self.optimizer_idx, self.counted),
            ("hiddens", self.hiddens, self.split),
        ):
            if name in self.named:
                named[name] = value
            elif passed:
                given.append(value)
        output = self.method(*given, **named)
        return self._leave(output) if self.split else output

    def _leave(self, output: Any) -> Any:
        if output is None:
            return None
        if not isinstance(output, Mapping) or output.get("hiddens") is None:
            raise MisconfigurationException(
                'Where `truncated_bptt_steps` is set, `training_step` returns the hidden state under "hiddens".',
                got=f"a dict with the keys {list(output)}" if isinstance(output, Mapping) else type(output).__name__,
                fix='`return {"loss": loss, "hiddens": hiddens}`.',
            )
        self.left = apply_to_collection(output["hiddens"], Tensor, torch.Tensor.detach)
        return {name: value for name, value in output.items() if name != "hiddens"}


def noted(module: LightningModule) -> dict[str, Any]:
    """What is known of a module for the run that begins; it goes with the functions that stand in for methods."""
    return module.__dict__.setdefault("_stand_ins", {})  # type: ignore[no-any-return]


def former_step(module: LightningModule) -> FormerStep | None:
    """The step of 1.x that a module's ``training_step`` is called as in this run, if it is."""
    return noted(module).get("_former_step")


def put_step(module: LightningModule) -> FormerStep:
    """Has a module's ``training_step`` called as in 1.x.

    Args:
        module: The module.
    """
    step = former_step(module)
    if step is None:
        step = noted(module)["_former_step"] = FormerStep(module)
        call: Callable[..., Any] = step.call

        def training_step(batch: Any, batch_idx: int) -> Any:
            return call(batch, batch_idx)

        put(module, "training_step", training_step)
    return step
