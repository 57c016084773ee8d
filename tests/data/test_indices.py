"""Indices from a place in a pass are those that the sampler itself comes to, with the same draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from fulmen.data.indices import Indices, random_indices


class Somewhere:
    """A place in a pass."""

    is_agreed = False

    def __init__(self, skip: int) -> None:
        self.skip, self.calls = skip, []

    def begin(self) -> int:
        self.calls.append("begin")
        return self.skip

    def done(self) -> None:
        self.calls.append("done")


def samplers(count: int, generator: torch.Generator | None) -> dict[str, Any]:
    data = range(count)
    return {
        "in order": SequentialSampler(data),
        "shuffled": RandomSampler(data, generator=generator),
        "fewer": RandomSampler(data, num_samples=max(count // 2, 1), generator=generator),
        "more": RandomSampler(data, num_samples=2 * count + 3, generator=generator),
        "replaced": RandomSampler(data, replacement=True, num_samples=3 * count + 70, generator=generator),
        "subset": SubsetRandomSampler(data, generator=generator),
        "weighted": WeightedRandomSampler([1.0] * count, count, generator=generator),
        "distributed": DistributedSampler(TensorDataset(torch.zeros(count)), 2, 1, seed=4),
    }


@given(
    kind=st.sampled_from(list(samplers(3, None))),
    count=st.integers(1, 90),
    size=st.integers(1, 7),
    skip=st.integers(0, 60),
    drop_last=st.booleans(),
    own=st.booleans(),
)
def test_indices_from_any_place(kind: str, count: int, size: int, skip: int, drop_last: bool, own: bool) -> None:
    def loader() -> tuple[Any, torch.Generator]:
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(8)
        sampler = samplers(count, generator if own else None)[kind]
        batches = BatchSampler(sampler, size, drop_last)
        return DataLoader(range(count), batch_sampler=batches), generator  # type: ignore[arg-type]

    expected, generator = loader()
    whole = list(expected.batch_sampler)
    after = (torch.get_rng_state(), generator.get_state())
    given_loader, generator = loader()
    place = Somewhere(min(skip, len(whole)))
    found = list(Indices(given_loader, place))
    assert found == whole[place.skip :]
    assert place.calls == ["begin", "done"]
    assert torch.equal(torch.get_rng_state(), after[0])
    assert torch.equal(generator.get_state(), after[1])


@pytest.mark.parametrize("skip", [0, 31, 32, 33, 2**20 - 1, 2**20 + 40])
def test_many_indices_with_replacement(skip: int) -> None:
    def sampler() -> RandomSampler:
        generator = torch.Generator().manual_seed(8)
        return RandomSampler(range(1000), replacement=True, num_samples=2**20 + 100, generator=generator)

    whole = list(sampler())
    assert list(random_indices(sampler(), skip)) == whole[skip:]
