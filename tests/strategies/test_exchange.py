from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fulmen.strategies.exchange import exchange
from fulmen.utilities.exceptions import MisconfigurationException


class Threads:
    """Ranks that are threads of one process."""

    root_device = torch.device("cpu")

    def __init__(self, rank: int, parts: list[Any], barrier: threading.Barrier) -> None:
        self.global_rank, self.world_size = rank, barrier.parties
        self.parts, self.wait, self.collectives = parts, barrier.wait, 0

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        self.collectives += 1
        self.parts[self.global_rank] = tensor
        self.wait(10)
        stacked = torch.stack(self.parts)
        self.wait(10)
        return stacked

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        raise NotImplementedError


def together(world: int, function: Callable[[Any], Any]) -> list[Any]:
    """What each of so many ranks returns."""
    parts: list[Any] = [None] * world
    found: list[Any] = [None] * world
    barrier = threading.Barrier(world)

    def run(rank: int) -> None:
        found[rank] = function(Threads(rank, parts, barrier))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


VALUES: list[Any] = [
    {"a": torch.arange(6.0).reshape(2, 3), "b": [True, None, "text"]},
    [torch.tensor(3, dtype=torch.int16), torch.zeros(0, 4), torch.tensor([True, False])],
    (torch.randn(3, dtype=torch.complex64).conj(), torch.randn(4)[::2], torch.tensor([[1.0, 2.0]])[:, 1]),
    torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    torch.tensor([[0.0, 1.0]]).to_sparse(),
]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        if one.is_sparse:
            one, other = one.to_dense(), other.to_dense()
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and all(map(_equal, one, other))
    return bool(one == other)


def test_every_rank_gets_what_each_had() -> None:
    count = len(VALUES)
    for found in together(count, lambda strategy: exchange(strategy, VALUES[strategy.global_rank])):
        assert all(map(_equal, found, VALUES))


@pytest.mark.parametrize(("size", "collectives"), [(1, 1), (2000, 2)])
def test_what_is_small_takes_one_collective(size: int, collectives: int) -> None:
    def run(strategy: Any) -> Any:
        sizes = [one.numel() for one in exchange(strategy, torch.zeros(size * strategy.global_rank))]
        return sizes, strategy.collectives

    assert together(2, run) == [([0, size], collectives)] * 2


def test_what_comes_has_memory_of_its_own() -> None:
    """Not a view of all that was sent, which would be saved with it."""
    found = together(2, lambda strategy: exchange(strategy, [torch.zeros(2), torch.zeros(3)]))
    assert [tensor.untyped_storage().nbytes() for tensor in found[0][1]] == [8, 12]


def test_graphs_stay_where_they_are() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    found = together(2, lambda strategy: exchange(strategy, [weight, weight * 2]))
    assert not any(tensor.requires_grad for one in found[0] for tensor in one)


def test_one_process_gets_its_own_back() -> None:
    value = object()
    assert exchange(Threads(0, [None], threading.Barrier(1)), value) == [value]


def test_what_cannot_be_pickled_says_so() -> None:
    strategy = Threads(0, [None, None], threading.Barrier(2))
    with pytest.raises(MisconfigurationException, match="Return tensors, numbers, text"):
        exchange(strategy, lambda: None)
