"""Moving batches to a device, the next one while the present one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fulmen.utilities.tree import apply_to_collection, move_data_to_device

Mover = Callable[[Any], Any]
_END = object()


def mover(device: torch.device | str) -> Mover | None:
    """Makes the function that moves a batch to a device.

    Args:
        device: Where to.

    Returns:
        The function; None for the CPU, where batches are.
    """
    target = torch.device(device)
    if target.type == "cpu":
        return None
    non_blocking = target.type != "mps"

    def move(batch: Any) -> Any:
        if type(batch) is Tensor:
            return batch.to(target, non_blocking=non_blocking)
        if type(batch) is list and all(type(field) is Tensor for field in batch):
            return [field.to(target, non_blocking=non_blocking) for field in batch]
        return move_data_to_device(batch, target)

    return move


def prefetch(iterator: Iterator[Any], device: torch.device | str) -> Iterator[Any]:
    """Moves batches to a device; where it has streams, the next batch is on its way while one is worked on.

    The copies go from pinned memory and on a stream of their own, so that neither this process nor the work on the
    current stream waits for them longer than until the batch is needed.

    Args:
        iterator: The batches.
        device: Where to.

    Returns:
        The batches on the device, in order. With streams, one batch is read ahead of the one handed out.
    """
    target = torch.device(device)
    move = mover(target)
    if move is None:
        return iterator
    return _ahead(iterator, target, move) if has_streams(target) else map(move, iterator)


def has_streams(device: torch.device) -> bool:
    """Whether copies to a device can run beside its work."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type == device.type and device.type != "mps"


def _ahead(iterator: Iterator[Any], device: torch.device, move: Mover) -> Iterator[Any]:
    copies = torch.Stream(device)
    pins = _can_pin()
    ready: deque[Any] = deque()

    def load() -> None:
        batch = next(iterator, _END)
        if batch is _END:
            return
        source = apply_to_collection(batch, Tensor, _pinned) if pins else batch
        # A batch that has been let go gives its memory back to this stream while work on it may still be queued on the
        # other. Waiting for what is queued now, which is all but the batch handed out next, makes it safe to use again.
        copies.wait_stream(torch.accelerator.current_stream(device))
        with copies:
            ready.append(move(source))

    load()
    while ready:
        torch.accelerator.current_stream(device).wait_stream(copies)
        load()
        yield ready.popleft()


def _can_pin() -> bool:
    try:
        torch.empty(1, device="cpu").pin_memory()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def _pinned(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()
