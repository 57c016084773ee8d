"""The predictions of several processes, on each of them in the order of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from fulmen.strategies.exchange import Group, exchange
from fulmen.utilities.tree import apply_to_collection

_BYTES = 2**26  # of one process, sent at a time
_ITEMS = 1024

Numbered = tuple[int, Any]


def gather_predictions(strategy: Group, predictions: list[Any], numbers: list[int]) -> list[Any]:
    """All predictions in the order of their batches, on every process. All of them have to call it.

    Args:
        strategy: How the processes agree.
        predictions: This process's.
        numbers: The numbers of their batches in the pass.
    """
    if strategy.world_size == 1:
        return predictions
    chunks = list(_chunks(list(zip(numbers, predictions, strict=True))))
    found: list[tuple[int, int, Any]] = []
    for index in range(max(exchange(strategy, len(chunks)))):
        mine = chunks[index] if index < len(chunks) else []
        for rank, chunk in enumerate(exchange(strategy, mine)):
            own = mine if rank == strategy.global_rank else chunk
            found += [(number, rank, prediction) for number, prediction in own]
    found.sort(key=lambda one: one[:2])
    return [prediction for _, _, prediction in found]


def _chunks(predictions: list[Numbered]) -> Iterator[list[Numbered]]:
    chunk: list[Numbered] = []
    size = 0
    for one in predictions:
        chunk.append(one)
        size += _size_of(one[1])
        if size >= _BYTES or len(chunk) >= _ITEMS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size_of(prediction: Any) -> int:
    sizes: list[int] = []
    apply_to_collection(prediction, Tensor, lambda tensor: sizes.append(tensor.numel() * tensor.element_size()))
    return sum(sizes)
