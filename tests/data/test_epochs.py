from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch.utils.data import BatchSampler, DataLoader, Dataset

from fulmen.data.epochs import set_epoch
from fulmen.utilities.combined_loader import CombinedLoader


class Told:
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class ToldSampler(Told):
    def __iter__(self) -> Iterator[int]:
        return iter([0, 1])

    def __len__(self) -> int:
        return 2


class ToldBatchSampler(Told, BatchSampler):
    def __init__(self, sampler: ToldSampler) -> None:
        Told.__init__(self)
        BatchSampler.__init__(self, sampler, 1, False)


class ToldData(Told, Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return index


def test_every_part_is_told_once() -> None:
    data, sampler = ToldData(), ToldSampler()
    batch_sampler = ToldBatchSampler(ToldSampler())
    loaders = [DataLoader(data, sampler=sampler), DataLoader(data, batch_sampler=batch_sampler)]
    for epoch in range(2):
        set_epoch(loaders, epoch)
    for part in (data, sampler, batch_sampler, batch_sampler.sampler):
        assert part.epochs == [0, 1]


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: {"a": [x]}, lambda x: CombinedLoader({"a": x, "b": range(2)})])
def test_nests(nest) -> None:  # type: ignore[no-untyped-def]
    sampler = ToldSampler()
    set_epoch(nest(DataLoader(ToldData(), sampler=sampler)), 3)
    assert sampler.epochs == [3]


def test_other_loaders_are_no_matter() -> None:
    set_epoch([range(3), [1, 2]], 1)
