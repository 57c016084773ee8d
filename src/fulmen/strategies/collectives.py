"""Collectives over tensors and nests of them, which complain where processes bring different things."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from fulmen.strategies.exchange import HEAD
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun
from fulmen.utilities.tree import apply_to_collection

_WORDS = {"sum": "SUM", "min": "MIN", "max": "MAX", "product": "PRODUCT", "prod": "PRODUCT"}
_KEEPS_TRUTH = (torch.distributed.ReduceOp.MIN, torch.distributed.ReduceOp.MAX)


def connected() -> bool:
    """Whether this process is in a group."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def reduce_nest(value: Any, group: Any, reduce_op: Any, device: torch.device) -> Any:
    """Combines the tensors of a nest over processes; what is no tensor stays.

    Args:
        value: A tensor, or a nest.
        group: Which processes; None for all.
        reduce_op: ``"mean"``, ``"avg"``, ``"sum"``, ``"min"``, ``"max"``, ``"product"``, or an operation of
            ``torch.distributed``; None is the mean.
        device: Where a tensor goes that the group cannot take where it is.

    Returns:
        The nest, of new tensors. The mean of integers and truth values is a float, their sum and product an integer.

    Raises:
        MisconfigurationException: If the operation is unknown, or number, shapes or types of tensors differ.
    """
    if not connected():
        return value
    operation, mean = _operation(reduce_op)
    found: list[Tensor] = []
    apply_to_collection(value, Tensor, found.append)
    _check_alike(found, group, "reduce", device)

    def combine(tensor: Tensor) -> Tensor:
        given = tensor.detach()
        moved = given.to(device) if given.device.type != device.type else given
        sent = _sendable(moved, operation)
        torch.distributed.all_reduce(sent, operation, group)
        if mean:
            sent = sent / torch.distributed.get_world_size(group)
        elif given.dtype == torch.bool and operation not in _KEEPS_TRUTH:
            return sent.to(given.device)
        return sent.to(given.device, sent.dtype if mean and not _is_inexact(given) else given.dtype)

    return apply_to_collection(value, Tensor, combine)


def _is_inexact(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _sendable(tensor: Tensor, operation: Any) -> Tensor:
    """A copy in a type in which it can be sent and added up."""
    if tensor.dtype == torch.bool:  # which groups refuse, or take for something else
        return tensor.to(torch.uint8 if operation in _KEEPS_TRUTH else torch.int64).contiguous()
    if tensor.dtype == torch.int16:
        return tensor.to(torch.int32).contiguous()
    if tensor.dtype in (torch.float16, torch.bfloat16):  # a sum could leave their range, and loses digits
        return tensor.float().contiguous()
    return tensor.clone(memory_format=torch.contiguous_format)


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
    _check_alike([moved], group, "all_gather", device)
    if sync_grads and _is_inexact(moved):
        gathered: Tensor = _Gathering.apply(moved, group)  # type: ignore[no-untyped-call]
        return gathered.to(tensor.device)
    return _gathered(moved, group).to(tensor.device)


def _gathered(tensor: Tensor, group: Any) -> Tensor:
    whole = tensor.new_empty((torch.distributed.get_world_size(group), tensor.numel()))
    # as bytes, since there are types that groups do not know
    parts = [row.view(torch.uint8) for row in whole]
    torch.distributed.all_gather(parts, tensor.reshape(-1).view(torch.uint8), group)
    return whole.reshape(len(parts), *tensor.shape)


class _Gathering(torch.autograd.Function):
    """Collects a tensor of every process; each gets back what all of them made of its part."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _gathered(tensor, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        group = ctx.group
        sent = gradients[0].contiguous()
        if torch.distributed.get_backend(group) == "nccl":
            own = torch.empty_like(sent[0])
            torch.distributed.reduce_scatter_tensor(own, sent, group=group)
            return own, None
        sent = sent.clone()
        torch.distributed.all_reduce(sent, group=group)
        return sent[torch.distributed.get_rank(group)], None


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


def agree(own: Any, group: Any, device: torch.device) -> list[Any] | None:
    """Compares a value over processes, which costs one small collective where all have the same.

    Args:
        own: This process's: text, numbers, and lists of them.
        group: Which processes; None for all.
        device: Where the group takes tensors.

    Returns:
        None where they are equal; else each process's, by rank.
    """
    world = torch.distributed.get_world_size(group)
    if world == 1:
        return None
    digest = hashlib.blake2b(repr(own).encode(), digest_size=8).digest()
    here = torch.tensor([int.from_bytes(digest, "big", signed=True)], dtype=torch.int64, device=device)
    found = [torch.empty_like(here) for _ in range(world)]
    torch.distributed.all_gather(found, here, group)
    if len(set(torch.cat(found).tolist())) == 1:
        return None
    values: list[Any] = [None] * world
    torch.distributed.all_gather_object(values, own, group)
    return values


def _check_alike(tensors: list[Tensor], group: Any, what: str, device: torch.device) -> None:
    """Compares shapes and types first: a collective over different ones hangs, or gives numbers without a meaning."""
    forms = agree([what, *(f"{tensor.dtype} of shape {tuple(tensor.shape)}" for tensor in tensors)], group, device)
    if forms is None:
        return
    shown = [
        f"rank {rank}: {'' if call == what else f'`{call}` of '}{', '.join(own) or 'no tensor'}"
        for rank, (call, *own) in enumerate(forms)
    ]
    head = f"{torch.uint8} of shape {(HEAD,)}"
    ended = [str(rank) for rank, (_, *own) in enumerate(forms) if own == [head]]
    if ended and len(ended) < len(forms):  # which is what is exchanged there
        raise MisconfiguredRun(
            f"All processes call `{what}` as often, and rank {', '.join(ended)} has no batch left for it.",
            got="; ".join(shown),
            fix="Where data shard themselves, give each process as many batches; or collect what steps give, and bring "
            "it together at the end of the epoch.",
        )
    raise MisconfiguredRun(
        f"All processes bring tensors of one shape and type to `{what}`.",
        got="; ".join(shown),
        fix="Pad them to one shape first, or gather lists with `torch.distributed.all_gather_object`.",
    )


_CHUNK = 1 << 26  # bytes that are sent at once


def broadcast_tensors(tensors: list[Tensor], src: int = 0, device: torch.device | None = None) -> None:
    """Gives every process the values of one's tensors, in place.

    Args:
        tensors: The same ones on every process, in the same order.
        src: Whose values.
        device: Where the group takes tensors; None for where they are.
    """
    if not connected():
        return
    for chunk in chunks([tensor.detach() for tensor in tensors]):
        flat = torch.cat([tensor.reshape(-1) for tensor in chunk]).to(device)
        torch.distributed.broadcast(flat, src)
        for tensor, values in zip(chunk, flat.split([tensor.numel() for tensor in chunk]), strict=True):
            tensor.copy_(values.view_as(tensor))


def chunks(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type and device that are sent together.

    Args:
        tensors: All of them.

    Yields:
        Some of them, in their order.
    """
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
