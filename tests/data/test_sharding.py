from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, SequentialSampler

from fulmen.data.sharding import Share, digest, is_ordered, way_of


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


@given(total=st.integers(0, 20), world=st.integers(1, 5), begun=st.booleans())
def test_every_batch_is_somebody_s(total: int, world: int, begun: bool) -> None:
    shares = [Share(rank, world) for rank in range(world)]
    parts = [list(share.of(range(total))) for share in shares]
    assert sorted(sum(parts, [])) == list(range(total))  # noqa: RUF017
    assert [len(part) for part in parts] == [share.part_of(total) for share in shares]
    for share, part in zip(shares, parts, strict=True):
        for number in part:  # whoever stands behind one of its own goes on with the next of its own
            assert list(share.of(range(number + 1, total), begun=True)) == [one for one in part if one > number]


def test_an_unknown_number_stays_unknown() -> None:
    assert Share(1, 2).part_of(float("inf")) == float("inf")


def _split(name: str) -> Any:
    """A data set as Hugging Face's `split_dataset_by_node` leaves it."""
    kind = type("IterableDataset", (Stream,), {"__module__": "datasets.iterable_dataset", "_distributed": name or None})
    return DataLoader(kind(), batch_size=None)


def _said(shards: bool) -> Any:
    stream = Stream()
    stream.shards_itself = shards  # type: ignore[attr-defined]
    return DataLoader(stream, batch_size=None)


def _sampled(replicas: int, as_batches: bool = False) -> Any:
    sampler: Any = DistributedSampler(range(4), num_replicas=replicas, rank=0)  # type: ignore[arg-type]
    if as_batches:
        return DataLoader(range(4), batch_sampler=BatchSampler(sampler, 2, False))  # type: ignore[arg-type]
    return DataLoader(range(4), batch_size=2, sampler=sampler)  # type: ignore[arg-type]


class _Otherwise(DataLoader[Any]):
    def __iter__(self) -> Any:
        return iter([1, 2])


@pytest.mark.parametrize(
    ("loader", "way"),
    [
        (DataLoader(range(4)), "indices"),  # type: ignore[arg-type]
        (DataLoader(range(4), batch_size=None), "indices"),  # type: ignore[arg-type]
        (DataLoader(range(4), batch_size=None, num_workers=1), "batches"),  # type: ignore[arg-type]
        (DataLoader(Stream()), "ask"),
        (_Otherwise(range(4)), "ask"),  # type: ignore[arg-type]
        (Stream(), "ask"),
        ([1, 2], "ask"),
        (_sampled(2), "own"),
        (_sampled(2, as_batches=True), "own"),
        (_sampled(1), "indices"),
        (_said(True), "own"),
        (_said(False), "batches"),
        (_split("node"), "own"),
        (_split(""), "ask"),
    ],
)
def test_how_a_loader_is_divided(loader: Any, way: str) -> None:
    assert way_of(loader) == way


@pytest.mark.parametrize(
    ("loader", "ordered"),
    [
        (DataLoader(range(4)), True),  # type: ignore[arg-type]
        (DataLoader(range(4), batch_size=None), True),  # type: ignore[arg-type]
        (DataLoader(range(4), shuffle=True), False),  # type: ignore[arg-type]
        (DataLoader(range(4), batch_sampler=[[0, 1], [2]]), False),  # type: ignore[arg-type]
        (DataLoader(range(4), batch_sampler=BatchSampler(SequentialSampler(range(4)), 2, True)), True),  # type: ignore[arg-type]
    ],
)
def test_what_is_read_in_order_needs_no_agreement(loader: Any, ordered: bool) -> None:
    assert is_ordered(loader) is ordered


class _Held:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.me = self


@pytest.mark.parametrize(
    "make",
    [
        lambda n: torch.tensor([1.0, n]),
        lambda n: {"x": [torch.tensor(n), "text"], "y": (None, 2)},
        lambda n: np.array([1.0, n]),
        lambda n: np.array([n, "text"], dtype=object),
        lambda n: torch.tensor([n, 1.0, 2.0, 3.0])[::2],
        lambda n: _Held(torch.tensor([n])),
        lambda n: f"text {n}",
    ],
)
def test_equal_batches_have_equal_digests(make: Any) -> None:
    assert digest(make(3)) == digest(make(3))
    assert digest(make(3)) != digest(make(4))


def test_kinds_and_shapes_are_part_of_a_digest() -> None:
    values = [torch.zeros(2), torch.zeros(2).double(), torch.zeros(1, 2), [0.0, 0.0], (0.0, 0.0), "", None]
    assert len({digest(value) for value in values}) == len(values)
