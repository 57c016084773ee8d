from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

from fulmen.data.feed import Feed
from fulmen.data.worker_stream import release
from fulmen.utilities.combined_loader import CombinedLoader


class Stream:
    """Batches of unknown number that writes down when each is read."""

    def __init__(self, length: int, log: list[Any] | None = None) -> None:
        self.length, self.log = length, [] if log is None else log

    def __iter__(self) -> Iterator[int]:
        for index in range(self.length):
            self.log.append(f"read {index}")
            yield index
        self.log.append("end")


class Sized(Stream):
    def __len__(self) -> int:
        return self.length


class Says(Sized):
    def __init__(self, length: int, says: int) -> None:
        super().__init__(length)
        self.says = says

    def __len__(self) -> int:
        return self.says


class Reopening:
    """A loader that is its own iterator, and starts anew whenever it is asked for it."""

    def __init__(self) -> None:
        self.opened = 0

    def __iter__(self) -> Reopening:
        self.opened += 1
        self.left = 3
        return self

    def __next__(self) -> int:
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        return self.left


class Squares(Dataset[int]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index**2


class Endless(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def lasts(feed: Feed) -> list[bool]:
    return [index + 1 == feed.total for index, _ in enumerate(feed)]


@given(st.integers(0, 6), st.just(math.inf) | st.integers(0, 8), st.sampled_from([Stream, Sized]))
@settings(deadline=None)
def test_limit_total_and_the_last_batch(length: int, limit: float, kind: type[Stream]) -> None:
    expected = list(range(min(length, limit)))  # type: ignore[call-overload]
    feed = Feed(kind(length), limit)
    if kind is Sized:
        assert feed.total == len(expected)
    assert list(feed) == expected
    if limit == math.inf or kind is Sized or limit <= length:
        assert feed.total == len(expected)
        assert lasts(Feed(kind(length), limit)) == [False] * (len(expected) - 1) + [True] * bool(expected)


def test_total_is_set_before_the_last_batch_is_handed_out() -> None:
    feed = Feed(Stream(3))
    assert feed.total == math.inf
    assert [(batch, feed.total) for batch in feed] == [(0, math.inf), (1, math.inf), (2, 3)]
    empty = Feed(Stream(0))
    assert list(empty) == [] and empty.total == 0


@pytest.mark.parametrize(
    ("loader", "limit", "expected"),
    [
        (Sized(2), math.inf, ["read 0", "step 0", "read 1", "step 1"]),
        (Sized(3), 2, ["read 0", "step 0", "read 1", "step 1"]),
        (Stream(3), 2, ["read 0", "step 0", "read 1", "step 1"]),
        (Stream(2), 5, ["read 0", "step 0", "read 1", "step 1", "end"]),
        (Stream(2), math.inf, ["read 0", "read 1", "step 0", "end", "step 1"]),
    ],
)
def test_reads_ahead_only_where_the_length_is_unknown(loader: Stream, limit: float, expected: list[str]) -> None:
    loader.log.clear()
    for batch in Feed(loader, limit):
        loader.log.append(f"step {batch}")
    assert loader.log == expected


def test_a_limit_of_zero_does_not_touch_the_loader() -> None:
    loader = Sized(3)
    before = torch.get_rng_state()
    assert list(Feed(loader, 0)) == [] == loader.log
    assert list(Feed(DataLoader(Squares(4)), 0)) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_that_is_shorter_or_longer_than_it_says() -> None:
    assert list(Feed(Says(3, says=5))) == [0, 1, 2]
    assert list(Feed(Says(3, says=2))) == [0, 1]


@pytest.mark.parametrize("limit", [math.inf, 2])
def test_a_loader_is_opened_once(limit: float) -> None:
    loader = Reopening()
    list(Feed(loader, limit))
    assert loader.opened == 1
    list(Feed(CombinedLoader([loader, range(3)], "min_size"), limit))
    assert loader.opened == 2


def test_a_generator_goes_on_where_the_last_pass_ended() -> None:
    stream = iter(range(10))
    assert [list(Feed(stream, 3)), list(Feed(stream, 3))] == [[0, 1, 2], [3, 4, 5]]


LOADERS: dict[str, Callable[[torch.Generator | None], DataLoader[Any]]] = {
    "tensors": lambda g: DataLoader(TensorDataset(torch.arange(12)), 4, shuffle=True, generator=g),
    "tensors, rest": lambda g: DataLoader(TensorDataset(torch.arange(11)), 4, shuffle=True, generator=g),
    "samples": lambda g: DataLoader(Squares(12), 4, shuffle=True, generator=g),
    "samples, rest dropped": lambda g: DataLoader(Squares(11), 4, shuffle=True, generator=g, drop_last=True),
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("fast", [True, False])
def test_epochs_are_those_of_a_hand_written_loop(name: str, seed: int | None, fast: bool) -> None:
    def run(open_pass: Callable[[DataLoader[Any]], Any]) -> list[Any]:
        torch.manual_seed(1)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        loader = LOADERS[name](generator)
        seen: list[Any] = []
        for _ in range(3):
            for batch in open_pass(loader):
                fields = batch if isinstance(batch, list) else [batch]
                seen.append(([field.tolist() for field in fields], torch.rand(()).item()))
        states = [torch.get_rng_state()] + ([generator.get_state()] if generator else [])
        return [*seen, *[state.tolist() for state in states]]

    assert run(lambda loader: Feed(loader, fast=fast)) == run(lambda loader: loader)


def test_a_loader_of_somebodys_own_is_asked_for_as_many_batches_as_it_says() -> None:
    class Together(DataLoader[Any]):  # scvi-tools has one that raises where the longer half goes on
        def __iter__(self) -> Any:
            return zip(range(2), range(3), strict=True)

        def __len__(self) -> int:
            return 2

    assert list(Feed(Together(Squares(12)))) == [(0, 0), (1, 1)]


def test_combined_loaders_give_batches_alone() -> None:
    loaders = {"a": DataLoader(TensorDataset(torch.arange(4)), 2), "b": range(3)}
    feed = Feed(CombinedLoader(loaders, "max_size"))
    assert feed.total == 3
    assert str(list(feed)) == str([batch for batch, _, _ in CombinedLoader(loaders, "max_size")])
    assert list(Feed(CombinedLoader([Stream(2), Stream(3)], "max_size_cycle"))) == [[0, 0], [1, 1], [0, 2]]
    assert list(Feed(CombinedLoader([range(2), range(3)], "sequential"))) == [0, 1, 0, 1, 2]


def test_a_combined_loader_of_ones_own() -> None:
    class Doubled(CombinedLoader):
        def __next__(self) -> Any:
            batch, index, position = super().__next__()
            return [2 * field for field in batch], index, position

    assert list(Feed(Doubled([range(3), range(2)]))) == [[0, 0], [2, 2]]


def test_combined_draws_are_those_of_the_loaders() -> None:
    def run(fast: bool) -> tuple[str, list[int]]:
        torch.manual_seed(2)
        loaders = [DataLoader(TensorDataset(torch.arange(n)), 2, shuffle=True) for n in (5, 9)]
        seen = list(Feed(CombinedLoader(loaders, "max_size_cycle"), fast=fast))
        return str(seen), torch.get_rng_state().tolist()

    assert run(True) == run(False)


def test_an_exception_of_the_data_set_comes_through() -> None:
    class Fails(Squares):
        def __getitem__(self, index: int) -> int:
            raise KeyError(index)

    with pytest.raises(KeyError):
        list(Feed(DataLoader(Fails(3))))


def test_no_frame_of_ours_but_the_fetch_of_a_batch() -> None:
    dataset = TensorDataset(torch.arange(64))
    iterator = iter(Feed(DataLoader(dataset, 4, shuffle=True)))
    next(iterator)
    frames: list[str] = []

    def count(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            frames.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)

    sys.setprofile(count)
    next(iterator)
    sys.setprofile(None)
    assert len([name for name in frames if "listcomp" not in name]) == 1, frames


class Workers(Dataset[int]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        info = get_worker_info()
        assert info is not None
        return int(info.id)


def alive(iterator: Any) -> list[bool]:
    return [worker.is_alive() for worker in iterator._workers]


def test_closing_ends_workers_also_while_the_iterator_is_held() -> None:
    feed = Feed(DataLoader(Workers(), num_workers=2, multiprocessing_context="fork"))
    iterator = iter(feed)
    next(iterator)
    inner = feed.streams[0].iterator
    assert alive(inner) == [True, True]
    feed.close()
    assert alive(inner) == [False, False]


def test_persistent_workers_live_on() -> None:
    loader = DataLoader(Workers(), num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    first = Feed(loader)
    next(iter(first))
    first.close()
    workers = first.streams[0].iterator._workers
    second = Feed(loader)
    assert len(list(second)) == 8
    assert second.streams[0].iterator._workers is workers and workers[0].is_alive()
    release(loader)
    assert not workers[0].is_alive()


def test_batches_are_moved() -> None:
    loader = DataLoader(TensorDataset(torch.arange(6)), 4)
    batches = list(Feed(loader, device=torch.device("meta")))
    assert [[field.device.type for field in batch] for batch in batches] == [["meta"], ["meta"]]
    assert [batch.device.type for batch in Feed(Stream2(), device=torch.device("meta"))] == ["meta"] * 2
    assert next(iter(Feed(loader, device=torch.device("cpu"))))[0].device.type == "cpu"


class Stream2:
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter([torch.ones(1), torch.ones(1)])


def test_an_endless_stream_with_a_limit() -> None:
    feed = Feed(DataLoader(Endless(), batch_size=2), 3)
    assert feed.total == 3 and len(list(feed)) == 3
