"""Collectives over tensors and nests of them, which complain where processes bring different things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.tree import apply_to_collection

_WORDS = {"sum": "SUM", "min": "MIN", "max": "MAX", "product": "PRODUCT", "prod": "PRODUCT"}
_MOST_DIMENSIONS = 16


def connected() -> bool:
    """Whether this process is in a group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def reduce_nest(value: Any, group: Any, reduce_op: Any, device: torch.device) -> Any:
    """Combines the tensors and numbers of a nest over processes; what is neither stays.

    Args:
        value: A tensor, or a nest.
        group: Which processes; None for all.
        reduce_op: ``"mean"``, ``"avg"``, ``"sum"``, ``"min"``, ``"max"``, ``"product"``, or an operation of
            ``torch.distributed``; None is the mean.
        device: Where a tensor goes that the group cannot take where it is.

    Returns:
        The nest, of new tensors. The mean of integers is a float.

    Raises:
        MisconfigurationException: If the operation is unknown, or shapes or types differ.
    """
    if not connected():
        return value
    operation, mean = _operation(reduce_op)

    def combine(tensor: Tensor) -> Tensor:
        given = tensor.detach()
        moved = given.to(device) if given.device.type != device.type else given.clone()
        moved = moved.contiguous()
        _check_alike(moved, group, "reduce")
        torch.distributed.all_reduce(moved, operation, group)
        if mean:
            moved = moved / torch.distributed.get_world_size(group)
        return moved.to(given.device)

    return apply_to_collection(value, Tensor, combine)


def gather_stack(tensor: Tensor, group: Any, sync_grads: bool, device: torch.device) -> Tensor:
    """Collects a tensor of every process.

    Args:
        tensor: This process's part.
        group: Which processes; None for all.
        sync_grads: Whether gradients flow back.
        device: Where a tensor goes that the group cannot take where it is.

    Returns:
        The parts, stacked in a new first dimension.

    Raises:
        MisconfigurationException: If shapes or types differ.
    """
    if not connected():
        return tensor
    given = tensor if sync_grads else tensor.detach()
    moved = (given.to(device) if given.device.type != device.type else given).contiguous()
    _check_alike(moved, group, "all_gather")
    if sync_grads:
        from torch.distributed.nn.functional import all_gather

        parts = all_gather(moved, torch.distributed.group.WORLD if group is None else group)
        return torch.stack(list(parts)).to(tensor.device)
    gathered = [torch.zeros_like(moved) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(gathered, moved, group)
    return torch.stack(gathered).to(tensor.device)


def _operation(reduce_op: Any) -> tuple[Any, bool]:
    operations = torch.distributed.ReduceOp
    if reduce_op is None or (isinstance(reduce_op, str) and reduce_op.lower() in ("mean", "avg")):
        return operations.SUM, True
    if not isinstance(reduce_op, str):
        return (operations.SUM, True) if reduce_op == operations.AVG else (reduce_op, False)
    if reduce_op.lower() not in _WORDS:
        raise MisconfigurationException(
            "`reduce_op` is the name of an operation, or one of `torch.distributed.ReduceOp`.",
            got=reduce_op,
            fix='"mean", "sum", "min", "max" or "product".',
        )
    return getattr(operations, _WORDS[reduce_op.lower()]), False


def _check_alike(tensor: Tensor, group: Any, what: str) -> None:
    """Compares shapes and types first: a collective over different ones hangs, or gives numbers without a meaning."""
    here = torch.full((_MOST_DIMENSIONS + 2,), -1, dtype=torch.int64, device=tensor.device)
    form = [_TYPES.index(tensor.dtype), tensor.ndim, *tensor.shape[:_MOST_DIMENSIONS]]
    here[: len(form)] = torch.tensor(form, dtype=torch.int64)
    forms = [torch.empty_like(here) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(forms, here, group)
    if all(torch.equal(one, here) for one in forms):
        return
    shown = []
    for rank, one in enumerate(forms):
        kind, dimensions, *shape = one.tolist()
        shown.append(f"rank {rank}: {_TYPES[kind]} of shape {tuple(shape[:dimensions])}")
    raise MisconfiguredRun(
        f"All processes bring tensors of one shape and type to `{what}`.",
        got="; ".join(shown),
        fix="Pad them to one shape first, or gather lists with `torch.distributed.all_gather_object`.",
    )


_TYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip

_CHUNK = 1 << 26  # bytes that are sent at once


def broadcast_tensors(tensors: list[Tensor], src: int = 0) -> None:
    """Gives every process the values of one's tensors, in place.

    Args:
        tensors: The same ones on every process, in the same order.
        src: Whose values.
    """
    if not connected():
        return
    for chunk in _chunks([tensor.detach() for tensor in tensors]):
        flat = torch.cat([tensor.reshape(-1) for tensor in chunk])
        torch.distributed.broadcast(flat, src)
        for tensor, values in zip(chunk, flat.split([tensor.numel() for tensor in chunk]), strict=True):
            tensor.copy_(values.view_as(tensor))


def average_gradients(parameters: Iterable[Parameter], device: torch.device) -> None:
    """Makes the gradients of parameters the mean over all processes.

    A gradient that only some processes have counts as zero on the others; one that none has stays None.

    Args:
        parameters: The same ones on every process, in the same order.
        device: Where the group takes tensors.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if not wanted:
        return
    there = torch.tensor([parameter.grad is not None for parameter in wanted], dtype=torch.uint8, device=device)
    torch.distributed.all_reduce(there, torch.distributed.ReduceOp.MAX)
    gradients = []
    for parameter, somewhere in zip(wanted, there.tolist(), strict=True):
        if somewhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    world = torch.distributed.get_world_size()
    for chunk in _chunks(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in chunk]).div_(world)
        torch.distributed.all_reduce(flat)
        for gradient, values in zip(chunk, flat.split([one.numel() for one in chunk]), strict=True):
            gradient.copy_(values.view_as(gradient))


def _chunks(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device that are sent together."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in kinds.values():
        chunk: list[Tensor] = []
        size = 0
        for tensor in group:
            if chunk and size + tensor.nbytes > _CHUNK:
                yield chunk
                chunk, size = [], 0
            chunk.append(tensor)
            size += tensor.nbytes
        yield chunk
