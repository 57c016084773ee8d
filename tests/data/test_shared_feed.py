from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from fulmen.data.feed import Feed
from fulmen.data.shared_feed import SharedFeed
from fulmen.utilities import rng
from fulmen.utilities.combined_loader import CombinedLoader


class Alone:
    """A rank that nobody has to agree with."""

    root_device = torch.device("cpu")

    def __init__(self, rank: int, world: int, said: list[Any] | None = None) -> None:
        self.global_rank, self.world_size = rank, world
        self.said = said  # by the first, if that is to be heard
        self.heard = 0

    def all_gather(self, tensor: Any, group: Any = None, sync_grads: bool = False) -> Any:
        return torch.stack([tensor] * self.world_size)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        if self.said is None:
            return obj
        if self.global_rank == 0:
            self.said.append(obj)
        self.heard += 1
        return self.said[self.heard - 1]


class Stream(IterableDataset[Any]):
    """Iterable data that have to be read again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return iter([torch.tensor([number]) for number in range(self.count)])


class Knowing(Stream):
    """Iterable data that say where they are."""

    place = 0

    def __iter__(self) -> Iterator[Any]:
        first, self.place = self.place, 0
        for number in range(first, self.count):
            self.place = number + 1
            yield torch.tensor([number])
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def _loader(kind: str, count: int, seed: int) -> Any:
    if kind == "stream":
        return DataLoader(Stream(count), batch_size=None)
    if kind == "knowing":
        return DataLoader(Knowing(count), batch_size=None)
    data = TensorDataset(torch.arange(count))
    if kind == "plain":
        return DataLoader(data, batch_size=None)
    if kind == "batch sampler":
        return DataLoader(data, batch_sampler=[[number] for number in range(count)])
    if kind == "shuffled":
        return DataLoader(data, batch_size=1, shuffle=True, generator=torch.Generator().manual_seed(seed))
    if kind == "drawn":
        return DataLoader(range(count), batch_size=1, shuffle=True)
    if kind == "weighted":
        return DataLoader(range(count), batch_size=2, sampler=WeightedRandomSampler([1.0] * count, count))
    if kind == "cycle":
        shuffled = DataLoader(range(3), 1, shuffle=True, generator=torch.Generator().manual_seed(seed))
        return CombinedLoader({"a": shuffled, "b": DataLoader(Stream(count), batch_size=None)}, "max_size_cycle")
    if kind == "rows":
        both = {"a": DataLoader(data, 1), "b": DataLoader(TensorDataset(torch.arange(2)), 1)}
        return CombinedLoader(both, "max_size_cycle")
    if kind in ("min_size", "max_size"):
        mixed = {"a": DataLoader(TensorDataset(torch.arange(4)), 1), "b": DataLoader(Stream(count), batch_size=None)}
        return CombinedLoader(mixed, kind)
    return DataLoader(data, batch_size=1)


KINDS = (
    "map",
    "shuffled",
    "batch sampler",
    "plain",
    "stream",
    "knowing",
    "rows",
    "min_size",
    "max_size",
    "drawn",
    "weighted",
    "cycle",
)


def _plain(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _plain(value) for key, value in batch.items()}
    if isinstance(batch, list):
        return [_plain(one) for one in batch]
    return None if batch is None else batch.flatten().tolist()


@pytest.mark.filterwarnings("ignore:To go on in the middle of an epoch")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(
    count=st.integers(0, 9), world=st.integers(2, 4), limit=st.none() | st.integers(1, 9),
    done=st.integers(1, 4), fast=st.booleans(), seed=st.integers(0, 3),
)  # fmt: skip
def test_a_pass_is_dealt_out_and_can_be_gone_on_with(
    kind: str, count: int, world: int, limit: int | None, done: int, fast: bool, seed: int
) -> None:
    count = (
        max(count, 1) if kind in ("shuffled", "drawn", "weighted") else count
    )  # which torch refuses to make of nothing
    most = float("inf") if limit is None else limit
    torch.manual_seed(seed)
    before = rng.note()
    everything = [_plain(batch) for batch in Feed(_loader(kind, count, seed), most, fast=fast)]
    found: dict[int, Any] = {}
    said: list[Any] = []
    for rank in range(world):
        strategy = Alone(rank, world, said)
        before.put()
        if rank:
            torch.rand(rank)  # the order is drawn with what the first process has
        feed = SharedFeed(_loader(kind, count, seed), most, strategy=strategy, fast=fast)
        mine = []
        for own, (batch, number) in enumerate(zip(feed, feed.numbers(), strict=False), 1):
            mine.append((number, _plain(batch)))
            if own == done:
                state, present, generators = feed.state_dict(own), rng.note(), feed.streams[0].generators
                states = rng.note_generators(generators)
        assert feed.runs_out_early(len(mine)) == (len(everything) > len(mine) * world)
        found.update(mine)
        if len(mine) >= done:
            present.put()
            loader = _loader(kind, count, seed)
            again = SharedFeed(loader, most, strategy=strategy, fast=fast, saved=state)
            rng.put_generators(again.streams[0].generators, states)
            rest = [(number, _plain(batch)) for batch, number in zip(again, again.numbers(), strict=False)]
            assert rest == mine[done:]
    assert [found[number] for number in sorted(found)] == everything
    assert sorted(found) == list(range(len(everything)))


def test_what_is_another_s_is_not_loaded() -> None:
    class Loaded(TensorDataset):
        asked: list[int] = []

        def __getitem__(self, index: int) -> Any:
            self.asked.append(index)
            return super().__getitem__(index)

    data = Loaded(torch.arange(6))
    assert len(list(SharedFeed(DataLoader(data, batch_size=2), strategy=Alone(1, 2)))) == 1
    assert data.asked == [2, 3]


def test_indices_of_batches_are_this_rank_s() -> None:
    feed = SharedFeed(DataLoader(TensorDataset(torch.arange(7)), batch_size=2), strategy=Alone(1, 2))
    notes = feed.note_indices()
    assert len(list(feed)) == 2
    assert notes is not None
    assert list(notes) == [[2, 3], [6]]
