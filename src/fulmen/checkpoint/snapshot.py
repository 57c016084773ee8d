"""A copy of a state in memory, which later steps do not change."""

from __future__ import annotations

import io
import pickle
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from itertools import compress
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.storage import TypedStorage, UntypedStorage

_HOSTED = frozenset({"cpu", "cuda", "hpu", "mps", "mtia", "xpu"})  # devices whose memory can be read as bytes
_ALIGNMENT = 64

_T = TypeVar("_T")
_Found: TypeAlias = "Tensor | TypedStorage | UntypedStorage"


class Snapshots:
    """Copies states into host memory, and uses the memory of one copy again for the next.

    Fresh memory costs several times what copying does, because the system hands it out page by page. A part of the
    last copy that somebody still holds is left alone, and gets a new one in its place.

    Example:
        >>> snapshots, weight = Snapshots(), torch.ones(2)
        >>> copy = snapshots.take({"w": weight, "tied": weight})
        >>> _ = weight.zero_()
        >>> copy["w"], copy["tied"] is copy["w"]
        (tensor([1., 1.]), True)
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []  # copies of tensors that are all that looks at their memory
        self._parts: list[UntypedStorage] = []  # copies of memory that several look at, or of a part of one

    def take(self, state: Any) -> Any:
        """Copies a state.

        Tensors that share memory share it in the copy, and of that memory only what a tensor of the state covers is
        copied, once. Tensors of another device come to the host. Everything else goes through `pickle`.

        Args:
            state: A nest of tensors and whatever can be pickled.

        Returns:
            The copy.

        Raises:
            pickle.PicklingError: If something in it cannot be pickled; also ``TypeError`` or ``AttributeError``.
        """
        found: list[_Found] = []
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        with torch.inference_mode(False), torch.no_grad():
            _Collector(stream, found, buffers).dump(state)
            copies = self._copy(found)
            stream.seek(0)
            return _Rebuilder(stream, copies, [bytearray(buffer.raw()) for buffer in buffers]).load()

    def release(self) -> None:
        """Gives the memory of the last copy back to the system."""
        self._tensors, self._parts = [], []

    def _copy(self, found: list[_Found]) -> list[_Found]:
        storages = [_storage(each) for each in found]
        looking = Counter(storage._cdata for storage in storages)
        alone = [looking[storage._cdata] == 1 and _fills(each, storage) for each, storage in zip(found, storages)]
        tensors = iter(self._copy_tensors(list(compress(found, alone))))
        views = [not single for single in alone]
        others = iter(self._copy_parts(list(compress(found, views)), list(compress(storages, views))))
        return [next(tensors if single else others) for single in alone]

    def _copy_tensors(self, found: list[Any]) -> list[Tensor]:
        free: dict[tuple[Any, ...], list[Tensor]] = {}
        for tensor in _unheld(self._tensors, lambda: torch.empty(1)):
            free.setdefault((tensor.dtype, tensor.shape), []).append(tensor)
        self._tensors = []
        reused = [free[key].pop() if free.get(key := (each.dtype, each.shape)) else None for each in found]
        free.clear()  # what does not fit is let go before more is asked for
        copies = [
            torch.empty(each.shape, dtype=each.dtype) if copy is None else copy
            for each, copy in zip(found, reused, strict=True)
        ]
        for each, copy in zip(found, copies, strict=True):
            copy.copy_(each)
            if copy.requires_grad != each.requires_grad:
                copy.requires_grad_(each.requires_grad)
        self._tensors = copies[:]
        return copies

    def _copy_parts(self, found: list[_Found], storages: list[UntypedStorage]) -> list[_Found]:
        memories: dict[int, _Memory] = {}
        places = [_place(each, storage, memories) for each, storage in zip(found, storages, strict=True)]
        stretches = [stretch for memory in memories.values() for stretch in memory.stretches()]
        self._parts = self._targets([end - start for _, start, end in stretches])
        for (memory, start, end), target in zip(stretches, self._parts, strict=True):
            memory.copy_to(target, start, end)
        return [_rebuilt(each, *place) for each, place in zip(found, places, strict=True)]

    def _targets(self, sizes: list[int]) -> list[UntypedStorage]:
        free: dict[int, list[UntypedStorage]] = {}
        for part in _unheld(self._parts, lambda: UntypedStorage(1)):
            free.setdefault(part.nbytes(), []).append(part)
        self._parts = []
        reused = [free[size].pop() if free.get(size) else None for size in sizes]
        free.clear()
        return [UntypedStorage(size) if part is None else part for size, part in zip(sizes, reused, strict=True)]


def _slot(index: int) -> Any:
    """Stands in the pickled state for what was found in it; the one who reads it knows what belongs there."""
    raise NotImplementedError


class _Collector(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, found: list[_Found], buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffers.append)
        self._found = found

    def reducer_override(self, obj: Any) -> Any:
        if _is_plain(obj) if type(obj) is Tensor else isinstance(obj, (TypedStorage, UntypedStorage)):
            self._found.append(obj)
            return _slot, (len(self._found) - 1,)
        return NotImplemented  # other tensors are taken apart by torch, down to plain ones and storages


class _Rebuilder(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, copies: list[_Found], buffers: list[bytearray]) -> None:
        super().__init__(stream, buffers=buffers)
        self._copies = copies

    def find_class(self, module: str, name: str) -> Any:
        if name == "_slot" and module == __name__:
            return self._copies.__getitem__
        return super().find_class(module, name)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is its memory, type, shape and strides, and nothing beside them."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type in _HOSTED
        and not tensor.__dict__
        and not tensor._backward_hooks
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_conj() or tensor.is_neg())
    )


class _Memory:
    """A storage, the stretches of it that a state needs, and where they were copied to."""

    __slots__ = ("_copies", "_needed", "_size", "_starts", "_storage")

    def __init__(self, storage: UntypedStorage) -> None:
        self._storage, self._size = storage, storage.nbytes()
        self._needed: list[tuple[int, int]] = []
        self._starts: list[int] = []
        self._copies: list[UntypedStorage] = []

    def need(self, start: int, end: int) -> None:
        # Tensors of different types may look at the same bytes, and each must begin where its type may begin.
        self._needed.append((start - start % _ALIGNMENT, end))

    def need_all(self) -> None:
        self._needed.append((0, self._size))

    def stretches(self) -> list[tuple[_Memory, int, int]]:
        """What is needed; pieces that overlap or touch are one, so that tensors that share memory go on sharing it."""
        joined: list[tuple[_Memory, int, int]] = []
        for start, end in sorted(self._needed):
            if joined and start <= joined[-1][2]:
                joined[-1] = (self, joined[-1][1], max(joined[-1][2], end))
            else:
                joined.append((self, start, end))
        return joined

    def copy_to(self, target: UntypedStorage, start: int, end: int) -> None:
        self._starts.append(start)
        self._copies.append(target)
        if end - start == self._size:
            target.copy_(self._storage)
        else:
            _as_bytes(target, 0, end - start).copy_(_as_bytes(self._storage, start, end - start))

    def copied(self, start: int) -> tuple[UntypedStorage, int]:
        """The copy of the stretch that holds a byte, and where in it the byte is."""
        if start == 0:
            return self._copies[0], 0
        index = bisect_right(self._starts, start) - 1
        return self._copies[index], start - self._starts[index]


def _as_bytes(storage: UntypedStorage, start: int, size: int) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage, start, (size,), (1,))


def _storage(found: _Found) -> UntypedStorage:
    if isinstance(found, Tensor):
        return found.untyped_storage()
    return found._untyped_storage if isinstance(found, TypedStorage) else found


def _fills(found: _Found, storage: UntypedStorage) -> bool:
    """Whether something is a tensor that looks at each byte of its memory, in order."""
    return (
        isinstance(found, Tensor)
        and found.is_contiguous()
        and found.numel() * found.element_size() == storage.nbytes()
        and found.storage_offset() == 0
    )


def _place(found: _Found, storage: UntypedStorage, memories: dict[int, _Memory]) -> tuple[_Memory, int]:
    """Notes which memory something needs, and tells which it is and where it begins."""
    memory = memories.setdefault(storage._cdata, _Memory(storage))
    if not isinstance(found, Tensor):
        memory.need_all()
        return memory, 0
    count, item = found.numel(), found.element_size()
    start = int(found.storage_offset()) * item if count else 0
    if count and not found.is_contiguous():
        count = 1 + sum((n - 1) * stride for n, stride in zip(found.shape, found.stride(), strict=True))
    memory.need(start, start + count * item)
    return memory, start


def _rebuilt(found: _Found, memory: _Memory, start: int) -> _Found:
    storage, inner = memory.copied(start)
    if isinstance(found, UntypedStorage):
        return storage
    if isinstance(found, TypedStorage):
        return TypedStorage(wrap_storage=storage, dtype=found.dtype, _internal=True)
    copy = torch.empty(0, dtype=found.dtype)
    copy.set_(storage, inner // found.element_size(), found.shape, found.stride())
    return copy.requires_grad_() if found.requires_grad else copy


def _unheld(copies: list[_T], make: Callable[[], _T]) -> list[_T]:
    """Those of the copies that nobody else holds, nor a view of them: they count as many holders as a new one does."""
    if not hasattr(torch._C, "_storage_Use_Count"):
        return []  # without it there is no telling
    new = make()
    *counts, alone = [_holders(each) for each in [*copies, new]]
    return [each for each, count in zip(copies, counts, strict=True) if count == alone]


def _holders(copy: Any) -> tuple[int, int, int]:
    storage = copy.untyped_storage() if isinstance(copy, Tensor) else copy
    return sys.getrefcount(copy), sys.getrefcount(storage), torch._C._storage_Use_Count(storage._cdata)
