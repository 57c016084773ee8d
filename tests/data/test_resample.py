from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from fulmen.data.resample import with_sampler
from fulmen.utilities.exceptions import MisconfigurationException


class Numbers(Dataset[int]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        return index


DATA = Numbers()


def _collate(samples: list[int]) -> list[int]:
    return samples


def _init(worker: int) -> None:
    pass


class Keeps(DataLoader[Any]):
    def __init__(self, extra: str, dataset: Dataset[int] = DATA, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        self.extra = extra


class Passes(DataLoader[Any]):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Forgets(DataLoader[Any]):
    def __init__(self, extra: str, **kwargs: Any) -> None:
        super().__init__(DATA, **kwargs)


class TakesNone(DataLoader[Any]):
    def __init__(self, size: int = 2) -> None:
        super().__init__(DATA, batch_size=size, shuffle=True)


def test_all_else_stays() -> None:
    generator = torch.Generator()
    options: dict[str, Any] = {
        "batch_size": 4,
        "drop_last": True,
        "num_workers": 2,
        "collate_fn": _collate,
        "pin_memory": True,
        "timeout": 5,
        "worker_init_fn": _init,
        "multiprocessing_context": "spawn",
        "generator": generator,
        "prefetch_factor": 3,
        "persistent_workers": True,
        "in_order": False,
    }
    old = DataLoader(DATA, shuffle=True, **options)
    sampler = SequentialSampler(DATA)
    new = with_sampler(old, sampler)
    assert new.sampler is sampler and new.dataset is DATA and isinstance(old.sampler, RandomSampler)
    for name in options.keys() - {"multiprocessing_context"}:
        assert getattr(new, name) == options[name], name
    assert new.multiprocessing_context.get_start_method() == "spawn"


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(DATA, 4, shuffle=True), [[0, 1, 2, 3], [4, 5]]),
        (DataLoader(DATA, batch_size=None, shuffle=True), [0, 1, 2, 3, 4, 5]),
        (DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 4, True)), [[0, 1, 2, 3]]),
        (Keeps("x", batch_size=3, shuffle=True), [[0, 1, 2], [3, 4, 5]]),
        (Passes(DATA, 3, shuffle=True), [[0, 1, 2], [3, 4, 5]]),
    ],
)
def test_order(loader: DataLoader[Any], expected: list[Any]) -> None:
    new = with_sampler(loader, SequentialSampler(DATA))
    assert type(new) is type(loader)
    assert [batch.tolist() if isinstance(batch, torch.Tensor) else batch for batch in new] == expected


@pytest.mark.parametrize("loader", [Forgets("x", shuffle=True), TakesNone()])
def test_a_class_that_cannot_be_made_again(loader: DataLoader[Any]) -> None:
    with pytest.raises(MisconfigurationException, match=r"Keep each argument of .*__init__.* as an attribute"):
        with_sampler(loader, SequentialSampler(DATA))
