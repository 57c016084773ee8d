"""Gradients that are made the mean over processes after backward, where backward itself does not do so."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from fulmen.strategies.collectives import chunks

# What processes say of a gradient; the highest counts.
_NONE, _MEAN_ALREADY, _DENSE, _SPARSE = range(4)


def average_gradients(parameters: Iterable[Parameter], device: torch.device) -> None:
    """Makes the gradients of parameters the mean over all processes.

    A gradient that only some processes have counts as zero on the others; one that none has stays None. What was made
    the mean before and has not changed since on any process is not sent again.

    Args:
        parameters: The same ones on every process, in the same order.
        device: Where the group takes tensors.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if not wanted:
        return
    said = torch.tensor([_state(parameter.grad) for parameter in wanted], dtype=torch.uint8, device=device)
    torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
    dense = []
    for parameter, state in zip(wanted, said.tolist(), strict=True):
        if state == _DENSE:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dense.append(parameter.grad)
        elif state == _SPARSE:
            _average_sparse(parameter)
    world = torch.distributed.get_world_size()
    for chunk in chunks(dense):
        flat = torch.cat([gradient.reshape(-1) for gradient in chunk]).div_(world)
        torch.distributed.all_reduce(flat)
        for gradient, values in zip(chunk, flat.split([one.numel() for one in chunk]), strict=True):
            gradient.copy_(values.view_as(gradient))
            gradient.__dict__["_mean_at"] = gradient._version


def _state(gradient: Tensor | None) -> int:
    if gradient is None:
        return _NONE
    if gradient.is_sparse:
        return _SPARSE
    return _MEAN_ALREADY if gradient.__dict__.get("_mean_at") == gradient._version else _DENSE


def _average_sparse(parameter: Parameter) -> None:
    if parameter.grad is None:  # rows, as embeddings have them
        no_rows = torch.empty((1, 0), dtype=torch.int64, device=parameter.device)
        none = parameter.detach()[:0]
        parameter.grad = torch.sparse_coo_tensor(no_rows, none, parameter.shape, check_invariants=True)
    sent = parameter.grad.to_sparse(1).coalesce() / torch.distributed.get_world_size()
    torch.distributed.all_reduce(sent)
    parameter.grad = sent
