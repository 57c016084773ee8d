from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from fulmen.data import memory
from fulmen.data.memory import fast_iterator

SamePass = Callable[..., None]
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(length: int) -> TensorDataset:
    seeded = torch.Generator().manual_seed(3)
    return TensorDataset(torch.randn(length, 3, generator=seeded), torch.arange(length))


class Own:
    """A sampler that gives numbers of several kinds."""

    def __init__(self, length: int, kind: Callable[[int], Any] = int) -> None:
        self.length, self.kind = length, kind

    def __iter__(self) -> Iterator[Any]:
        for i in torch.randperm(self.length).tolist():
            yield self.kind(i)

    def __len__(self) -> int:
        return self.length


class ShufflesWhenAsked:
    """A batch sampler that is its own iterator, and shuffles whenever it is asked for it."""

    def __iter__(self) -> Iterator[Any]:
        self.left = torch.randperm(6).tolist()
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        return [self.left.pop(), self.left.pop()]


def sampler(name: str, dataset: Any, generator: torch.Generator | None) -> Any:
    count = len(dataset)
    return {
        "sequential": lambda: SequentialSampler(dataset),
        "random": lambda: RandomSampler(dataset, generator=generator),
        "replacement": lambda: RandomSampler(dataset, replacement=True, num_samples=count + 40, generator=generator),
        "more": lambda: RandomSampler(dataset, num_samples=2 * count + 1, generator=generator),
        "fewer": lambda: RandomSampler(dataset, num_samples=max(1, count // 2), generator=generator),
        "exactly": lambda: RandomSampler(dataset, num_samples=count, generator=generator),
        "subset": lambda: SubsetRandomSampler(range(0, count, 2), generator=generator),
        "weighted": lambda: WeightedRandomSampler([1.0 + i for i in range(count)], 13, generator=generator),
        "own": lambda: Own(count),
        "negative": lambda: Own(count, lambda i: -1 - i),
        "numpy": lambda: Own(count, numpy.int64),
        "tensors": lambda: Own(count, torch.tensor),
        "other source": lambda: SequentialSampler(range(count + 2)),
        "short source": lambda: RandomSampler(range(1 + count // 2), generator=generator),
    }[name]()


SAMPLERS = ["sequential", "random", "replacement", "more", "fewer", "exactly", "subset", "weighted", "own", "negative"]
SAMPLERS += ["numpy", "tensors", "other source", "short source"]


@given(
    length=st.integers(1, 23),
    size=st.integers(1, 9),
    drop_last=st.booleans(),
    name=st.sampled_from(SAMPLERS),
    nest=st.lists(st.sampled_from(["list", "range", "tensor", "array", "shorter"]), max_size=2),
    seeds=st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)),
    cut=st.integers(1, 4),
)
@quickly
def test_batches_and_draws_are_the_loaders_own(
    same_pass: SamePass,
    length: int,
    size: int,
    drop_last: bool,
    name: str,
    nest: list[str],
    seeds: tuple[int | None, int | None],
    cut: int,
) -> None:
    def make() -> DataLoader[Any]:
        dataset: Any = table(length)
        for kind in nest:
            rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1))
            indices: Any = {
                "list": rows.tolist(),
                "range": range(len(dataset) - 1, -1, -1),
                "tensor": rows,
                "array": rows.numpy(),
                "shorter": rows.tolist()[: 1 + len(dataset) // 2],
            }[kind]
            dataset = Subset(dataset, indices)
        first, second = (None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds)
        chosen = sampler(name, dataset, first)
        return DataLoader(dataset, size, sampler=chosen, drop_last=drop_last, generator=second)

    before, memory._CUT = memory._CUT, cut
    try:
        same_pass(make, fast_iterator)
    finally:
        memory._CUT = before


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("length", "size"), [(8, 4), (9, 4), (3, 4)])
def test_one_generator_for_order_and_base_seed(same_pass: SamePass, shuffle: bool, length: int, size: int) -> None:
    def make() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(11)
        return DataLoader(table(length), size, shuffle=shuffle, generator=generator)

    same_pass(make, fast_iterator, epochs=3)


def layouts() -> dict[str, torch.Tensor]:
    images = torch.randn(10, 3, 4, 5)
    return {
        "numbers": torch.randn(10),
        "flags": torch.rand(10, 2) > 0.5,
        "complex": torch.randn(10, 2, dtype=torch.complex64),
        "half": torch.randn(10, 2).half(),
        "bfloat16": torch.randn(10, 2).bfloat16(),
        "bytes": torch.arange(20, dtype=torch.uint8).reshape(10, 2),
        "nan": torch.full((10, 2), float("nan")),
        "nothing": torch.empty(10, 0, 3),
        "one wide": torch.empty_strided((10, 1), (1, 7)).normal_(),
        "columns": torch.randn(10, 6)[:, 1:4],
        "every second": torch.randn(20, 3)[::2],
        "transposed": torch.randn(3, 10).T,
        "expanded": torch.randn(10, 1).expand(10, 4),
        "repeated": torch.randn(1, 4).expand(10, 4),
        "channels last": images.to(memory_format=torch.channels_last),
        "clips": torch.randn(10, 2, 3, 4, 5),
    }


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("shuffle", [False, True])
def test_layouts(same_pass: SamePass, name: str, shuffle: bool) -> None:
    tensor = layouts()[name]
    same_pass(lambda: DataLoader(TensorDataset(tensor, tensor), 4, shuffle=shuffle), fast_iterator)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [1, 5, 10])
def test_batches_are_copies(shuffle: bool, size: int) -> None:
    dataset = table(10)
    kept = [tensor.clone() for tensor in dataset.tensors]
    for batch in fast_iterator(DataLoader(dataset, size, shuffle=shuffle)) or ():
        for tensor in batch:
            tensor.zero_()
    assert all(torch.equal(now, then) for now, then in zip(dataset.tensors, kept, strict=True))


def test_random_split_and_a_changed_subset(same_pass: SamePass) -> None:
    part: Subset[Any] = random_split(table(20), [15, 5], torch.Generator().manual_seed(0))[0]
    same_pass(lambda: DataLoader(part, 4, shuffle=True), fast_iterator)
    part.indices[0] = part.indices[1]  # type: ignore[index]
    same_pass(lambda: DataLoader(part, 4, shuffle=True), fast_iterator)
    part.indices = part.indices[:7]
    same_pass(lambda: DataLoader(part, 4), fast_iterator)


def test_data_changed_during_a_pass_is_seen() -> None:
    dataset = table(8)
    batches = fast_iterator(DataLoader(dataset, 4))
    assert batches is not None
    next(batches)
    dataset.tensors[0].fill_(5.0)
    assert next(batches)[0].eq(5.0).all()


@pytest.mark.parametrize(
    "batches", [[[0, 1], (3, 2)], [[-1, 0], [1]], [[0], [9]], [[]], [[True]], [torch.tensor([3, 1])]]
)
def test_own_batch_samplers(same_pass: SamePass, batches: list[Any]) -> None:
    same_pass(lambda: DataLoader(table(6), batch_sampler=batches), fast_iterator)
    same_pass(lambda: DataLoader(Subset(table(9), range(6)), batch_sampler=batches), fast_iterator)


def test_a_batch_sampler_is_opened_once(same_pass: SamePass) -> None:
    same_pass(lambda: DataLoader(table(6), batch_sampler=ShufflesWhenAsked()), fast_iterator)


def test_batch_sampler_of_ones_own_order(same_pass: SamePass) -> None:
    def make() -> DataLoader[Any]:
        dataset = table(11)
        return DataLoader(dataset, batch_sampler=BatchSampler(RandomSampler(dataset), 4, drop_last=True))

    same_pass(make, fast_iterator)


class OwnLoader(DataLoader[Any]):
    pass


class OwnTable(TensorDataset):
    pass


class OwnSubset(Subset[Any]):
    pass


class Squares(Dataset[int]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index**2


UNFIT: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "subclass of DataLoader": lambda: OwnLoader(table(6), 2),
    "subclass of TensorDataset": lambda: DataLoader(OwnTable(torch.arange(6)), 2),
    "subclass of Subset": lambda: DataLoader(OwnSubset(table(6), [0, 1]), 2),
    "other data set": lambda: DataLoader(Squares(), 2),
    "own collate": lambda: DataLoader(table(6), 2, collate_fn=lambda samples: samples),
    "no batches": lambda: DataLoader(table(6), batch_size=None),
    "workers": lambda: DataLoader(table(6), 2, num_workers=1),
    "gradients": lambda: DataLoader(TensorDataset(torch.randn(6, 2, requires_grad=True)), 2),
    "parameters": lambda: DataLoader(TensorDataset(torch.nn.Parameter(torch.randn(6), requires_grad=False)), 2),
    "sparse": lambda: DataLoader(TensorDataset(torch.eye(6).to_sparse()), 2),
    "conjugate": lambda: DataLoader(TensorDataset(torch.randn(6, dtype=torch.complex64).conj()), 2),
    "clips by channel": lambda: DataLoader(TensorDataset(torch.randn(6, 2, 4, 5, 3).permute(0, 1, 4, 2, 3)), 2),
    "flags as indices": lambda: DataLoader(Subset(table(6), [True, False]), 2),
    "indices out of range": lambda: DataLoader(Subset(table(6), [0, 6]), 2),
    "indices from the end": lambda: DataLoader(Subset(table(6), [0, -1]), 2),
    "indices beyond 64 bits": lambda: DataLoader(Subset(table(6), [2**70]), 2),
    "a mask": lambda: DataLoader(Subset(table(6), torch.ones(6, dtype=torch.bool)), 2),  # type: ignore[arg-type]
    "two devices": lambda: DataLoader(TensorDataset(torch.arange(6), torch.empty(6, device="meta")), 2),
}


@pytest.mark.parametrize("name", UNFIT)
def test_other_loaders_are_left_alone(name: str) -> None:
    loader = UNFIT[name]()
    before = torch.get_rng_state()
    assert fast_iterator(loader) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_off_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(table(6), 2)
    assert fast_iterator(loader) is not None
    monkeypatch.setenv("FULMEN_FAST_DATA", "0")
    assert fast_iterator(loader) is None


def test_a_changed_default_collate_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data._utils.collate import default_collate_fn_map

    monkeypatch.setitem(default_collate_fn_map, torch.Tensor, lambda batch, *, collate_fn_map=None: batch)
    assert fast_iterator(DataLoader(table(6), 2)) is None


@pytest.mark.skipif(torch.accelerator.is_available(), reason="the warning is for machines without an accelerator")
def test_pinning_without_an_accelerator_warns() -> None:
    with pytest.warns(UserWarning, match="pin_memory=True.*no effect"):
        assert fast_iterator(DataLoader(table(6), 2, pin_memory=True)) is not None


def test_batches_of_a_device() -> None:
    dataset = TensorDataset(torch.empty(6, 2, device="meta"), torch.empty(6, device="meta"))
    batches = fast_iterator(DataLoader(dataset, 4, shuffle=True))
    assert batches is not None
    assert [[tuple(field.shape) for field in batch] for batch in batches] == [[(4, 2), (4,)], [(2, 2), (2,)]]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sequential", "random", "replacement", "own"])
def test_data_on_an_accelerator(name: str) -> None:
    device = torch.accelerator.current_accelerator()

    def make() -> DataLoader[Any]:
        dataset = TensorDataset(*[tensor.to(device) for tensor in table(11).tensors])
        return DataLoader(dataset, 4, sampler=sampler(name, dataset, None))

    found = fast_iterator(make())
    assert found is not None and next(found)[0].device.type == device.type  # type: ignore[union-attr]
    torch.manual_seed(1)
    mine = [[field.cpu() for field in batch] for batch in fast_iterator(make()) or ()]
    torch.manual_seed(1)
    plain = [[field.cpu() for field in batch] for batch in make()]
    assert all(torch.equal(a, b) for one, two in zip(mine, plain, strict=True) for a, b in zip(one, two, strict=True))
