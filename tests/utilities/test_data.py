from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities.data import (
    extract_batch_size,
    has_iterable_dataset,
    has_len,
    has_len_all_ranks,
    sized_len,
    suggested_max_num_workers,
)
from fulmen.utilities.exceptions import MisconfigurationException


@dataclass
class Batch:
    x: Any


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(3, 2), 3),
        (torch.tensor(1.0), 1),
        ([torch.zeros(5), torch.zeros(5)], 5),
        ({"a": [[torch.zeros(3)]], "b": "text"}, 3),
        (Batch(torch.zeros(9)), 9),
    ],
)
def test_sizes(batch: Any, size: int) -> None:
    assert extract_batch_size(batch) == size


@pytest.mark.parametrize("batch", [{"a": torch.zeros(4), "b": torch.zeros(2)}, [torch.zeros(4), torch.tensor(1.0)]])
def test_tensors_that_differ_in_length(batch: Any) -> None:
    with pytest.warns(UserWarning, match=r"batch_size=4\)"):
        assert extract_batch_size(batch) == 4


@pytest.mark.parametrize("batch", ["text", ["a", "bb"], (1, 2), {}, None])
def test_batches_without_tensors(batch: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"batch_size=len\(batch\)"):
        extract_batch_size(batch)


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield from range(3)


class Counted(Endless):
    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("loader", "length", "iterable"),
    [
        (DataLoader(range(3)), 3, False),  # type: ignore[arg-type]
        (DataLoader(Endless()), None, True),
        (range(4), 4, False),
        (iter([1]), None, False),
        (5, None, False),
    ],
)
def test_lengths(loader: Any, length: int | None, iterable: bool) -> None:
    assert sized_len(loader) == length
    assert has_len(loader) is has_len_all_ranks(loader, SingleDeviceStrategy()) is (length is not None)
    assert has_iterable_dataset(loader) is iterable


def test_lengths_that_may_be_wrong_with_workers() -> None:
    loader = DataLoader(Counted())
    for call in (lambda: has_len(loader), lambda: has_len_all_ranks(loader, SingleDeviceStrategy())):
        with pytest.warns(UserWarning, match="get_worker_info"):
            assert call()


def test_empty_loaders() -> None:
    loader: Any = DataLoader([])
    for call in (lambda: has_len(loader), lambda: has_len_all_ranks(loader, SingleDeviceStrategy())):
        with pytest.warns(UserWarning, match="Is that on purpose"):
            assert call()


class Four(SingleDeviceStrategy):
    """Four processes, of which the others have two batches each."""

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        assert kwargs["reduce_op"] == "sum"
        return tensor + 6


def test_an_empty_loader_beside_others() -> None:
    loader: Any = DataLoader([])
    with pytest.raises(MisconfigurationException, match="allow_zero_length_dataloader_with_multiple_devices = True"):
        has_len_all_ranks(loader, Four())
    assert not has_len_all_ranks(loader, Four(), allow_zero_length_dataloader_with_multiple_devices=True)
    assert has_len_all_ranks(DataLoader([1]), Four())  # type: ignore[arg-type]


@pytest.mark.parametrize(("cores", "processes", "expected"), [(8, 1, 7), (8, 2, 3), (8, 8, 1), (1, 1, 1), (2, 4, 1)])
def test_workers(monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert suggested_max_num_workers(processes) == expected
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert suggested_max_num_workers(processes) == expected


def test_workers_of_no_process() -> None:
    with pytest.raises(MisconfigurationException, match=r"trainer\.num_devices"):
        suggested_max_num_workers(0)
