"""Handing any value of each process to all of them, tensors as they are and the rest pickled."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, Protocol

import torch
from torch import Tensor

from fulmen.utilities.exceptions import MisconfiguredType

_ALIGNED = 16  # bytes: the size of the widest number
HEAD = 4096  # what is exchanged at once; only more than that takes a second collective


class Group(Protocol):
    """What is asked of a strategy."""

    @property
    def global_rank(self) -> int:
        """This process's number."""

    @property
    def world_size(self) -> int:
        """How many processes there are."""

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Collects a tensor of every process in a new first dimension."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Hands an object of one process to all."""


def exchange(strategy: Group, value: Any) -> list[Any]:
    """Hands a value of each process to all. All of them have to call it.

    It takes one collective for what is small, and two for the rest.

    Args:
        strategy: How the processes agree.
        value: What can be pickled. Tensors in it are sent as the numbers that they hold.

    Returns:
        The values by rank, with their tensors on the host and without a graph.

    Raises:
        MisconfigurationException: If something cannot be pickled.
    """
    if strategy.world_size == 1:
        return [value]
    packed = _packed(value)
    length = torch.tensor([packed.numel()]).view(torch.uint8)
    padding = torch.zeros(_ALIGNED - length.numel(), dtype=torch.uint8)
    room = HEAD - _ALIGNED
    head = torch.cat([length, padding, _padded(packed[:room], room)])
    heads = _gathered(strategy, head)
    lengths = [int(one[: length.numel()].clone().view(torch.int64).item()) for one in heads]
    parts = [[one[_ALIGNED:]] for one in heads]
    longest = max(lengths)
    if longest > room:
        tails = _gathered(strategy, _padded(packed[room:], longest - room))
        for part, tail in zip(parts, tails, strict=True):
            part.append(tail)
    return [_unpacked(torch.cat(part)[:size]) for part, size in zip(parts, lengths, strict=True)]


def bytes_of(tensor: Tensor) -> Tensor:
    """The numbers of a strided tensor as bytes on the host, in order."""
    flat = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel() and flat.stride(0) != 1:  # of a single number, which counts as contiguous
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)


def _gathered(strategy: Group, data: Tensor) -> list[Tensor]:
    found = strategy.all_gather(data.to(strategy.root_device))
    return list(found.detach().to("cpu").reshape(strategy.world_size, -1))


def _padded(data: Tensor, size: int) -> Tensor:
    return torch.cat([data, torch.zeros(size - data.numel(), dtype=torch.uint8)])


class _Packer(pickle.Pickler):
    """Leaves tensors out, and says where they lie."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []
        self.size = 0

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor) or obj.layout is not torch.strided or obj.is_quantized or obj.is_nested:
            return None
        if type(obj) not in (Tensor, torch.nn.Parameter):
            return None  # knows itself what belongs to it
        data = bytes_of(obj)
        place = (self.size, obj.dtype, tuple(obj.shape))
        self.tensors.append(_padded(data, math.ceil(data.numel() / _ALIGNED) * _ALIGNED))
        self.size += self.tensors[-1].numel()
        return place


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, data: Tensor) -> None:
        super().__init__(file)
        self.data = data

    def persistent_load(self, pid: Any) -> Tensor:
        start, dtype, shape = pid
        size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
        return self.data[start : start + size].clone().view(dtype).reshape(shape)


def _packed(value: Any) -> Tensor:
    """The length of the pickle, the tensors, and the pickle, in bytes."""
    file = io.BytesIO()
    packer = _Packer(file)
    try:
        packer.dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise MisconfiguredType(
            "What processes hand to each other has to be picklable.",
            got=str(error),
            fix="Return tensors, numbers, text, or nests and picklable objects of them from steps; with "
            "`trainer.predict(..., return_predictions=False)` predictions stay in their process.",
        ) from error
    text = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    size = torch.tensor([packer.size, text.numel()]).view(torch.uint8)
    return torch.cat([size, *packer.tensors, text])


def _unpacked(data: Tensor) -> Any:
    size = int(data[:8].clone().view(torch.int64).item())
    tensors, text = data[16 : 16 + size], data[16 + size :]
    return _Unpacker(io.BytesIO(text.numpy().tobytes()), tensors).load()
