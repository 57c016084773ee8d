"""The order in which gradients are sent, which a run that goes on begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fulmen.strategies.reduced import Reduced


class BucketOrder:
    """In which order gradients came when ``DistributedDataParallel`` laid them out in its buckets.

    It does so anew after its first backward pass, in the order of rank 0. Where a gradient lies decides in which order
    the parts of three or more processes are added, and so its last bits. A process that goes on with a run has a first
    backward pass again, and would add in another order than a run that was never stopped.

    Attributes:
        wanted: The parameters' names in the order that a run which goes on had.
    """

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self._names: dict[str, None] = {}
        self._of: Reduced | None = None
        self._hooks: list[Any] = []

    def begin(self, ddp: DistributedDataParallel, reduced: Reduced) -> None:
        """Has the buckets laid out as they were, or takes note of how they will be.

        Args:
            ddp: The wrapped model.
            reduced: Its parameters; nothing is done where they are those of the last call.
        """
        if self._of is reduced:
            return
        self.end()
        self._of, self._names = reduced, {}
        wanted, self.wanted = self.wanted, []
        if ddp.static_graph or ddp.find_unused_parameters:
            return  # no other layout than the first, or one by what the graph is
        if sorted(wanted) == sorted(reduced.names):
            self._names = dict.fromkeys(wanted)
            _bring_in_order(ddp, reduced, wanted)
            return
        for name, parameter in zip(reduced.names, reduced.parameters, strict=True):
            self._hooks.append(parameter.register_post_accumulate_grad_hook(self._noting(ddp, name)))

    def known(self, reduced: Reduced) -> list[str]:
        """The names of parameters in the order of their gradients; none as long as it is not known."""
        if self.wanted:
            return self.wanted
        return list(self._names) if self._of is reduced and len(self._names) == len(reduced.names) else []

    def end(self) -> None:
        """Takes no more notes."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _noting(self, ddp: DistributedDataParallel, name: str) -> Callable[[Tensor], None]:
        def note(parameter: Tensor) -> None:
            if ddp.require_backward_grad_sync:
                self._names[name] = None

        return note


def _bring_in_order(ddp: DistributedDataParallel, reduced: Reduced, names: list[str]) -> None:
    """Makes a backward pass in which gradients come in an order. Nothing of it is kept but how buckets are laid out."""
    was, ddp.require_backward_grad_sync = ddp.require_backward_grad_sync, True
    begin: Any = ddp._pre_forward
    end: Any = ddp._post_forward
    with _put_back(reduced), torch.enable_grad():
        begin(*(() if ddp.device_ids is None else (None,)))
        end(reduced.nothing(names)).backward()
        rebuild: Any = ddp.reducer._rebuild_buckets  # as the next step would, but before gradients are back
        rebuild()
    ddp.require_backward_grad_sync = was


@contextmanager
def _put_back(reduced: Reduced) -> Iterator[None]:
    """Takes gradients, and the hooks of users that wait for them, from the parameters for a while."""
    gradients = [(parameter, parameter.grad) for parameter in reduced.parameters]
    tables = [
        table
        for parameter in reduced.parameters
        for table in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
        if table is not None
    ]
    hooks = [(table, dict(table)) for table in tables]
    for table in tables:
        table.clear()  # it is torch's own, which may hold on to it
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for table, known in hooks:
            table.update(known)
