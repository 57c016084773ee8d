from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from fulmen.data.plain import direct_iterator

SamePass = Callable[..., None]
Pair = namedtuple("Pair", "x y")
NOTHING = object()


class Samples(Dataset[Any]):
    """Samples of any kind, some of which draw random numbers."""

    def __init__(self, sample: Callable[[int], Any], length: int = 11) -> None:
        self.sample, self.length = sample, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.sample(index)


class InOneGo(Samples):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self.sample(-index) for index in indices]


def _ends(index: int) -> Any:
    if index == 9:
        raise StopIteration
    return index


def _fails(index: int) -> Any:
    if index == 5:
        raise KeyError("five")
    return index


KINDS: dict[str, Callable[[int], Any]] = {
    "tensor": lambda i: torch.full((2, 3), float(i)),
    "random": lambda i: (torch.rand(2) + i, torch.randint(9, ())),
    "tensor and number": lambda i: (torch.ones(3) * i, i),
    "numbers": lambda i: (i, i / 3, bool(i % 2), -1.5),
    "whole and broken numbers": lambda i: i if i % 2 else i / 2,
    "channels last": lambda i: (torch.randn(3, 4, 5).permute(1, 2, 0), torch.randn(2, 3, 4, 5).permute(0, 2, 3, 1)),
    "zero size": lambda i: (torch.empty(0), torch.tensor(i)),
    "texts": lambda i: (str(i), torch.tensor(i)),
    "list": lambda i: [torch.tensor(i), i],
    "nested": lambda i: ((torch.tensor(i), i), {"x": i, "y": [torch.ones(2)]}),
    "dict": lambda i: {"x": torch.ones(2) * i, "y": i},
    "named": lambda i: Pair(torch.ones(2) * i, i),
    "numpy": lambda i: (numpy.ones(2) * i, numpy.float32(i)),
    "gradients": lambda i: (torch.ones(2, requires_grad=True) * i, i),
    "parameter": lambda i: (torch.nn.Parameter(torch.ones(2)), i),
    "tuple or list": lambda i: (i, i) if i % 2 else [i, i],
    "of two lengths": lambda i: (i,) * (1 + i % 2),
    "of two shapes": lambda i: (torch.ones(1 + i % 2),),
    "sparse": lambda i: (torch.eye(3).to_sparse(),),
    "no kind for batches": lambda i: (NOTHING, i),
    "none": lambda i: (None, i),
    "empty": lambda i: (),
    "big numbers": lambda i: (2**70, i),
    "ends": _ends,
    "fails": _fails,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dataset", [Samples, InOneGo])
@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"batch_size": 4, "shuffle": True}, {"batch_size": None}])
def test_batches_and_draws_are_the_loaders_own(
    same_pass: SamePass, kind: str, dataset: type[Samples], options: dict[str, Any]
) -> None:
    same_pass(lambda: DataLoader(dataset(KINDS[kind]), **options), direct_iterator)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("length", [8, 9])
def test_generators(same_pass: SamePass, drop_last: bool, length: int) -> None:
    def make() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(5)
        dataset = Samples(KINDS["random"], length)
        return DataLoader(dataset, 4, shuffle=True, drop_last=drop_last, generator=generator)

    same_pass(make, direct_iterator, epochs=3)


def test_other_parts_of_a_loader(same_pass: SamePass) -> None:
    numbers = Samples(KINDS["numbers"])
    same_pass(lambda: DataLoader(numbers, 4, collate_fn=lambda samples: ("mine", samples)), direct_iterator)
    same_pass(lambda: DataLoader(numbers, batch_sampler=[[1, 2], (3,), torch.tensor([4, 5])]), direct_iterator)
    same_pass(lambda: DataLoader(numbers, sampler=[[1, 2], [3]], batch_size=None), direct_iterator)
    same_pass(lambda: DataLoader(Subset(numbers, [3, 1, 2]), 2), direct_iterator)
    same_pass(lambda: DataLoader([1, 2, 3], 2), direct_iterator)  # type: ignore[arg-type]


class Order:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __iter__(self) -> Iterator[int]:
        for index in range(6):
            self.log.append(f"index {index}")
            yield index

    def __len__(self) -> int:
        return 6


@pytest.mark.parametrize("batch_size", [None, 2, 4])
def test_nothing_is_read_ahead(batch_size: int | None) -> None:
    def record(opener: Callable[[Any], Iterator[Any] | None]) -> list[str]:
        log: list[str] = []
        dataset = Samples(lambda index: log.append(f"sample {index}") or index)
        for batch in opener(DataLoader(dataset, batch_size, sampler=Order(log))) or ():
            log.append(f"batch {batch}")
        return log

    assert record(direct_iterator) == record(iter)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class OwnLoader(DataLoader[Any]):
    pass


def test_other_loaders_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Samples(KINDS["numbers"])
    before = torch.get_rng_state()
    assert direct_iterator([1, 2]) is None
    assert direct_iterator(OwnLoader(numbers)) is None
    assert direct_iterator(DataLoader(Stream())) is None
    assert direct_iterator(DataLoader(numbers, num_workers=1)) is None
    assert direct_iterator(DataLoader(numbers, pin_memory=True)) is None
    assert direct_iterator(DataLoader(numbers, timeout=1)) is None
    assert torch.equal(torch.get_rng_state(), before)
    assert direct_iterator(DataLoader(numbers)) is not None
    monkeypatch.setenv("FULMEN_FAST_DATA", "0")
    assert direct_iterator(DataLoader(numbers)) is None


@pytest.mark.parametrize("kind", [torch.Tensor, int, float, tuple])
def test_a_changed_default_collate_is_respected(
    same_pass: SamePass, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.data._utils.collate import default_collate_fn_map

    monkeypatch.setitem(default_collate_fn_map, kind, lambda batch, *, collate_fn_map=None: ("changed", batch[0]))
    assert "changed" in str(default_collate([(torch.ones(1), 1, 1.0)]))
    for name in ("tensor and number", "numbers", "tensor"):
        same_pass(lambda name=name: DataLoader(Samples(KINDS[name]), 4), direct_iterator)
