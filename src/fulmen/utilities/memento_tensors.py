"""What tensors hold, for :class:`~fulmen.utilities.memento.Memento`: copies lie on the host, one for each storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


class Storages:
    """Copies of storages. Tensors that are views of one share its copy, and devices keep their memory."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def keep(self, tensor: Tensor) -> None:
        """Copies the storage of a tensor, unless that was done.

        Args:
            tensor: A tensor with a storage.
        """
        storage = tensor.untyped_storage()
        key = (str(tensor.device), storage.data_ptr())
        if storage.nbytes() and key not in self._kept:
            with torch.inference_mode(False), torch.no_grad():
                raw = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
                self._kept[key] = (raw, raw.to("cpu", copy=True))

    def put_back(self) -> None:
        """Writes what differs."""
        for raw, copied in self._kept.values():
            # what lies in a file that is mapped for reading must not be written to, and is the same
            if raw.device.type != "cpu" or not torch.equal(raw, copied):
                raw.copy_(copied)


def note_tensor(
    tensor: Tensor,
    storages: Storages,
    notes: list[Callable[[], None]],
    late: list[Callable[[], None]],
    limit: int | None,
) -> Iterator[Tensor]:
    """Notes a tensor.

    Args:
        tensor: The tensor.
        storages: Keeps its elements.
        notes: Takes what puts the rest back.
        late: Takes what puts the gradient back, which first has to be what it was itself.
        limit: Bytes above which its elements are not kept.

    Yields:
        Its gradient, if it has one.
    """
    if is_lazy(tensor):
        notes.append(_note_lazy(tensor))
        return
    if tensor.is_meta:
        return
    if _has_storage(tensor):
        if limit is None or tensor.untyped_storage().nbytes() <= limit:
            storages.keep(tensor)
    else:
        copied = tensor.detach().clone()
        notes.append(lambda: _copy(copied, tensor.data))
    same = tensor.detach()
    gradient = tensor.grad if tensor.is_leaf else None

    wanted = tensor.requires_grad

    def put_back() -> None:
        if not _alike(tensor, same):
            if tensor.is_leaf:
                tensor.grad = None
            tensor.data = same
        if tensor.is_leaf and tensor.requires_grad != wanted:
            tensor.requires_grad_(wanted)

    def put_gradient_back() -> None:
        if tensor.is_leaf and tensor.grad is not gradient:
            tensor.grad = gradient

    notes.append(put_back)
    late.append(put_gradient_back)
    if gradient is not None:
        yield gradient


def _note_lazy(tensor: Tensor) -> Callable[[], None]:
    """For a parameter or buffer that has no shape yet, and becomes another kind of tensor when it gets one."""
    kind, data = type(tensor), tensor.data

    def put_back() -> None:
        if type(tensor) is not kind:
            tensor.grad = None
            tensor.data = data
            tensor.__class__ = kind

    return put_back


def _copy(origin: Tensor, target: Tensor) -> None:
    target.copy_(origin)


def _has_storage(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided:
        return False
    try:
        return tensor.untyped_storage().data_ptr() >= 0
    except (NotImplementedError, RuntimeError):  # subclasses that wrap others, and tensors without memory
        return False


def _alike(tensor: Tensor, same: Tensor) -> bool:
    """Whether a tensor still shows the memory that it showed."""
    if tensor.shape != same.shape or tensor.dtype != same.dtype or tensor.device != same.device:
        return False
    if tensor.layout != torch.strided:
        return True
    return tensor.data_ptr() == same.data_ptr() and tensor.stride() == same.stride()
