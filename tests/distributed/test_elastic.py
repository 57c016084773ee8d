"""An epoch that one number of processes begins and another one ends: nothing is left out, nothing comes twice."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from tests.conftest import SOAK
from tests.resume.loaders import StatefulSampler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    WeightedRandomSampler,
)

from fulmen.data.distributed import SharedSampler, share_training
from fulmen.data.epochs import set_epoch
from fulmen.data.feed import Feed
from fulmen.data.leftover import batches_by_rank, reopened
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException

Place = dict[str, Any]


class Numbers(Dataset[int]):
    """Each sample is its index."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError
        return index


class Backwards(Sampler[int]):
    """A sampler of somebody's own, which draws at random."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(random.sample(range(self.count), self.count))


class Lengths(BatchSampler):
    """Batches of lengths of their own."""

    def __iter__(self) -> Iterator[list[int]]:
        order = iter(torch.randperm(len(self.sampler)).tolist())  # type: ignore[arg-type]
        for number in range(len(self)):
            yield list(itertools.islice(order, 1 + number % 3))

    def __len__(self) -> int:
        return 1 + len(self.sampler) // 3  # type: ignore[arg-type]


def plain(count: int, size: int, kind: str, workers: int = 0) -> Any:
    data = Numbers(count)
    options: Any = {
        "ordered": {},
        "shuffled": {"shuffle": True},
        "weighted": {"sampler": WeightedRandomSampler([1.0 + i for i in range(count)], count)},
        "own": {"sampler": Backwards(count)},
        "batches": {"batch_sampler": Lengths(RandomSampler(data), size, False)},
        "single": {"shuffle": True},
    }[kind]
    if kind != "batches":
        options["batch_size"] = None if kind == "single" else size
    return DataLoader(data, num_workers=workers, **options)


def numbers(batch: Any) -> list[int]:
    return [int(batch)] if not isinstance(batch, torch.Tensor) or batch.ndim == 0 else batch.tolist()


class Run:
    """As many feeds as there are processes, which go on in step."""

    def __init__(self, make: Any, world: int, saved: Place | None = None, limit: float = float("inf")) -> None:
        self.feeds, self.passes, self.world = [], [], world
        for rank in range(world):
            whole = make()
            loader = share_training(whole, rank, world) if world > 1 else whole
            set_epoch(loader, 4)
            place, cut = None, limit
            if saved is not None:
                own = saved
                if "ranks" in saved:  # as many as before
                    own = {**saved["ranks"][rank], "lists": saved["ranks"][0].get("lists"), "ranks": saved["ranks"]}
                loader, place, rest = reopened(loader, whole, own, rank, world)
                cut = float("inf") if rest else limit
            self.feeds.append(Feed(loader, cut, saved=place))
            self.passes.append(iter(self.feeds[-1]))
        self.done = self.feeds[0].begun

    def steps(self, count: float) -> list[list[int]]:
        found = []
        while count > 0 and self.done < max(feed.total for feed in self.feeds):
            count -= 1
            self.done += 1
            found += [numbers(batch) for one in self.passes for batch in itertools.islice(one, 1)]
        return found

    def close(self) -> None:
        for feed in self.feeds:
            feed.close()

    def save(self, world: int) -> Place:
        states = [feed.state_dict(self.done) for feed in self.feeds]
        if world == self.world:
            return {"ranks": states} if world > 1 else states[0]
        for state in states[1:]:
            state.pop("lists", None)
        return {"by_rank": states, "consumed": self.done}


def whole_epoch(make: Any, world: int) -> list[list[int]]:
    torch.manual_seed(5)
    return Run(make, world).steps(1e9)


def check(case: random.Random) -> None:
    kind = case.choice(["ordered", "shuffled", "weighted", "own", "batches", "single"])
    count, sizes = case.randint(1, 40), [case.randint(1, 5) for _ in range(3)]
    worlds = [case.randint(1, 4) for _ in range(3)]
    if worlds[0] == 1 and kind == "own":
        kind = "shuffled"  # its order comes from the random state of Python, which a file has too: see below
    if kind == "batches" or case.randint(0, 1):
        sizes = [sizes[0]] * 3
    makes = [partial(plain, count, size, kind) for size in sizes]
    expected = Counter(itertools.chain.from_iterable(whole_epoch(makes[0], worlds[0])))
    torch.manual_seed(5)
    run = Run(makes[0], worlds[0])
    seen = run.steps(case.randint(1, 4))
    for world, make in zip(worlds[1:], makes[1:], strict=True):
        saved = run.save(world)
        torch.manual_seed(case.randint(0, 1000))
        run = Run(make, world, saved)
        seen += run.steps(case.choice([0, 1, 2, 3]))
    seen += run.steps(1e9)
    assert Counter(itertools.chain.from_iterable(seen)) == expected, (kind, count, sizes, worlds)


@pytest.mark.filterwarnings("ignore:.*`Lengths` draws its indices again.*")
def test_each_index_comes_once() -> None:
    for number in range(3000 if SOAK else 150):
        check(random.Random(number))


@pytest.mark.filterwarnings("ignore:.*worker processes in total.*")
@pytest.mark.parametrize("workers", [(2, 0), (0, 2), (2, 4)])
def test_workers_read_ahead_of_the_place(workers: tuple[int, int]) -> None:
    before, now = workers
    run = Run(lambda: plain(24, 2, "shuffled", before), 2)
    seen = run.steps(2)
    saved = run.save(1)
    run.close()
    run = Run(lambda: plain(24, 2, "shuffled", now), 1, saved)
    seen += run.steps(1e9)
    assert sorted(itertools.chain.from_iterable(seen)) == list(range(24))


@pytest.mark.parametrize("count", [1, 7, 8, 30])
@pytest.mark.parametrize("shuffle", [False, True])
def test_order_is_that_of_pytorch(count: int, shuffle: bool) -> None:
    for world, drop, epoch in itertools.product((1, 2, 3, 5), (False, True), (0, 3)):
        parts, own = [], []
        for rank in range(world):
            args: Any = (Numbers(count), world, rank, shuffle, 7, drop)
            theirs: DistributedSampler[int] = DistributedSampler(*args)
            ours = SharedSampler(*args)
            theirs.set_epoch(epoch)
            ours.set_epoch(epoch)
            parts.append(list(theirs))
            own.append(list(ours))
            assert ours.whole()[rank::world].tolist() == parts[-1]  # type: ignore[union-attr]
            assert len(ours) == len(theirs)
        assert own == parts


def test_limits_cut_the_list() -> None:
    run = Run(lambda: plain(40, 2, "shuffled"), 2, limit=5)
    seen = run.steps(2)
    run = Run(lambda: plain(40, 2, "shuffled"), 1, run.save(1), limit=5)
    seen += run.steps(1e9)
    assert run.done == 2 + 6 == run.feeds[0].total  # the three steps of two that were left
    expected = Run(lambda: plain(40, 2, "shuffled"), 2, limit=5).steps(1e9)
    assert sorted(itertools.chain.from_iterable(seen)) == sorted(itertools.chain.from_iterable(expected))


SHAPES = [(1, 8), (1, 4), (2, 4), (2, 2), (1, 16), (3, 2)]  # processes, and samples of a batch of each


@pytest.mark.filterwarnings("ignore:.*worker processes in total.*")
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.skipif(not SOAK, reason="soak"))])
@pytest.mark.parametrize("drop", [False, True])
def test_other_batches_take_what_is_left(drop: bool, workers: int) -> None:
    cases = list(itertools.product(SHAPES, SHAPES, [48, 53], [False, True]))
    for before, now, count, shuffle in cases if SOAK else random.Random(1).sample(cases, 8):
        takes_what_is_left(before, now, count, shuffle, drop, workers)


@pytest.mark.filterwarnings("ignore:.*worker processes in total.*")
@pytest.mark.parametrize(("before", "now"), [((1, 8), (1, 4)), ((2, 4), (2, 2))])
def test_other_batches_of_workers(before: tuple[int, int], now: tuple[int, int]) -> None:
    takes_what_is_left(before, now, 53, True, False, 2)


def takes_what_is_left(
    before: tuple[int, int], now: tuple[int, int], count: int, shuffle: bool, drop: bool, workers: int
) -> None:
    def make(size: int) -> Any:
        return DataLoader(Numbers(count), size, shuffle=shuffle, drop_last=drop, num_workers=workers)

    (world, size), seed = now, before[1]
    torch.manual_seed(seed)
    run = Run(partial(make, before[1]), before[0])
    epoch = [*itertools.chain.from_iterable(run.steps(1e9))]
    run.close()
    torch.manual_seed(seed)
    run = Run(partial(make, before[1]), before[0])
    seen = [*itertools.chain.from_iterable(run.steps(2))]
    saved = run.save(world)
    run.close()
    torch.manual_seed(0)
    run = Run(partial(make, size), world, saved)
    left = len(epoch) - len(seen)
    seen += itertools.chain.from_iterable(run.steps(1e9))
    run.close()
    shares = [len(range(rank, left, world)) for rank in range(world)]
    same = before == now
    dropped = sum(share % size for share in shares) if drop and not same else 0
    case = (before, now, count, shuffle)
    assert not Counter(seen) - Counter(epoch), case
    assert len(seen) == len(epoch) - dropped, case
    assert run.done == 2 + max(share // size if drop else -(-share // size) for share in shares), case


def test_other_batches_again_and_again_and_at_the_end() -> None:
    torch.manual_seed(5)
    run = Run(lambda: plain(48, 8, "shuffled"), 1)
    seen = run.steps(2)
    for size in (4, 8, 2):
        run = Run(partial(plain, 48, size, "shuffled"), 1, run.save(1))
        assert run.feeds[0].begun == run.done
        seen += run.steps(1)
    seen += run.steps(1e9)
    assert sorted(itertools.chain.from_iterable(seen)) == list(range(48))
    run = Run(lambda: plain(48, 16, "shuffled"), 1, run.save(1))
    assert run.steps(1e9) == [] and run.feeds[0].total == run.done


def test_a_sampler_that_knows_its_place_goes_on_to_the_next_epoch() -> None:
    for steps in (2, 6):
        sampler = StatefulSampler(24)
        run = Run(lambda sampler=sampler: DataLoader(Numbers(24), 4, sampler=sampler), 1)
        seen = run.steps(steps)
        saved, state = run.save(1), sampler.state_dict()
        again = StatefulSampler(24)
        again.load_state_dict(state)
        loader = DataLoader(Numbers(24), 8, sampler=again)
        run = Run(lambda loader=loader: loader, 1, saved)
        seen += run.steps(1e9)
        assert sorted(itertools.chain.from_iterable(seen)) == list(range(24))
        following = [*itertools.chain.from_iterable(map(numbers, Feed(loader)))]
        assert sorted(following) == list(range(24)) and following != [*itertools.chain.from_iterable(seen)]


def test_how_many_batches_each_process_gets() -> None:
    run = Run(lambda: plain(12, 2, "shuffled"), 2)
    run.steps(1)
    run = Run(lambda: plain(12, 2, "shuffled"), 3, run.save(3))
    assert [feed.total - feed.begun for feed in run.feeds] == [2, 2, 1] == batches_by_rank(run.feeds[0].loader)


class Stream(IterableDataset[int]):
    """Ten numbers, on every process the same."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


def feeds_of(loader: Any, counts: list[int]) -> Place:
    states = []
    for count in counts:
        feed = Feed(loader)
        list(itertools.islice(feed, count))
        states.append(feed.state_dict(count))
    return {"by_rank": states, "consumed": counts[0]}


@pytest.mark.parametrize("make", [lambda: DataLoader(Stream(), 1), lambda: [torch.tensor([i]) for i in range(10)]])
@pytest.mark.filterwarnings("ignore:.*read again and thrown away.*")
def test_an_iterable_goes_on_behind_what_all_had_read(make: Any) -> None:
    # batch i is that of process i modulo their number: two that have done three steps have read six batches
    saved = feeds_of(make(), [3, 3])
    loader, place, _ = reopened(make(), make(), saved, 0, 1)
    feed = Feed(loader, saved=place)
    read = [numbers(batch) for batch in itertools.islice(feed, 2)]
    assert feed.begun == 3 and read == [[6], [7]]
    loader, place, _ = reopened(make(), make(), feed.state_dict(5), 0, 1)
    assert [numbers(batch) for batch in Feed(loader, saved=place)] == [[8], [9]]


def test_loaders_that_are_read_together() -> None:
    make = lambda: CombinedLoader([plain(16, 2, "shuffled"), plain(24, 2, "shuffled")], "max_size")  # noqa: E731
    states, seen = [], []
    for rank in range(2):
        loader = make()
        loader.flattened = [share_training(one, rank, 2) for one in loader.flattened]
        feed = Feed(loader)
        seen += list(itertools.islice(feed, 2))
        states.append(feed.state_dict(2))
    whole = make()
    loader, place, _ = reopened(whole, whole, {"by_rank": states, "consumed": 2}, 0, 1)
    seen += list(Feed(loader, saved=place))
    for position, count in enumerate((16, 24)):
        found = [numbers(row[position]) for row in seen if row[position] is not None]
        assert sorted(itertools.chain.from_iterable(found)) == list(range(count))


class Sharded(Stream):
    shards_itself = True


class Alone(DistributedSampler[int]):
    """Somebody's own way to share samples out."""


class Endless(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def test_errors_say_what_to_do() -> None:
    saved = feeds_of(DataLoader(Sharded(), 1), [2, 2])
    with pytest.raises(MisconfigurationException, match="Resume with 2 processes, or from a checkpoint of the end"):
        reopened(DataLoader(Sharded(), 1), None, saved, 0, 1)
    data = Numbers(8)
    own = DataLoader(data, 1, sampler=Alone(data, 2, 0))
    assert share_training(own, 0, 2) is own
    with pytest.raises(MisconfigurationException, match="Leave the sharing to the Trainer"):
        reopened(own, own, feeds_of(own, [1, 1]), 0, 3)
    with pytest.raises(MisconfigurationException, match="Resume with the same training loaders"):
        both = CombinedLoader([own, own])
        reopened(both, both, feeds_of(own, [1, 1]), 0, 3)
    with pytest.raises(MisconfigurationException, match="use_distributed_sampler=False"):
        share_training(DataLoader(data, 1, sampler=Endless()), 0, 2)


def batches(sampler: Any) -> Any:
    return DataLoader(Numbers(24), batch_sampler=sampler)


DATA = range(24)
UNKNOWN = {
    "iterable": (lambda: DataLoader(Stream(), 2), lambda: DataLoader(Stream(), 1)),
    "own": (lambda: batches(Lengths(DATA, 2, False)), lambda: batches(Lengths(DATA, 3, False))),
    "to own": (lambda: DataLoader(Numbers(24), 2), lambda: batches(Lengths(DATA, 2, False))),
    "from own": (lambda: batches(Lengths(DATA, 2, False)), lambda: DataLoader(Numbers(24), 2)),
    "single": (
        lambda: DataLoader(torch.arange(24), None, sampler=BatchSampler(DATA, 2, False)),
        lambda: DataLoader(torch.arange(24), None, sampler=BatchSampler(DATA, 3, False)),
    ),
}


@pytest.mark.filterwarnings("ignore:.*read again and thrown away.*")
@pytest.mark.parametrize("kind", UNKNOWN)
def test_batches_of_which_the_samples_are_not_known_are_a_warning(kind: str) -> None:
    before, now = UNKNOWN[kind]
    saved = Run(before, 1)
    saved.steps(1)
    with pytest.warns(UserWarning, match=r"What to do: the same loader, .* or a checkpoint of the end of an epoch"):
        Run(now, 1, saved.save(1))


@pytest.mark.parametrize("kind", ["own", "to own", "from own", "single"])
def test_and_an_error_among_other_processes(kind: str) -> None:
    before, now = UNKNOWN[kind]
    saved = Run(before, 1)
    saved.steps(1)
    with pytest.raises(MisconfigurationException, match="Resume with the batch sampler, or the batch size, that"):
        Run(now, 2, saved.save(2))


def test_an_iterable_among_other_processes_warns_of_other_batches() -> None:
    before, now = UNKNOWN["iterable"]
    with pytest.warns(UserWarning, match=r"batches of 2, and this is another one \(of batches of 1\)"):
        reopened(now(), now(), feeds_of(before(), [2, 2]), 0, 1)


def test_batches_of_a_list_of_indices_are_not_those_of_a_sampler() -> None:
    saved = Run(lambda: plain(24, 2, "shuffled"), 2)
    saved.steps(1)
    with pytest.raises(MisconfigurationException, match="Resume with the batch sampler, or the batch size, that"):
        Run(UNKNOWN["own"][0], 3, saved.save(3))


def test_samples_that_are_shared_out_by_the_user_keep_their_batch_size() -> None:
    data = Numbers(24)
    make = lambda size: DataLoader(data, size, sampler=Alone(data, 2, 0))  # noqa: E731
    feed = Feed(make(2))
    list(itertools.islice(feed, 2))
    place = feed.state_dict(2)
    with pytest.raises(MisconfigurationException, match="resume with 2 and the same batch size"):
        reopened(make(4), make(4), {**place, "ranks": [place, place]}, 0, 2)


@pytest.mark.filterwarnings("ignore:.*`Alone` draws its indices again.*")
def test_a_part_of_one_process_alone_goes_on_with_other_batches() -> None:
    data = Numbers(24)
    make = lambda size: DataLoader(data, size, sampler=Alone(data, 2, 1, shuffle=False))  # noqa: E731
    run = Run(lambda: make(2), 1)
    seen = run.steps(2)
    seen += Run(lambda: make(4), 1, run.save(1)).steps(1e9)
    assert [*itertools.chain.from_iterable(seen)] == list(range(1, 24, 2))


def test_an_iterable_beside_other_batches() -> None:
    make = lambda size: CombinedLoader([plain(24, size, "shuffled"), DataLoader(Stream(), 1)], "min_size")  # noqa: E731
    torch.manual_seed(5)
    feed = Feed(make(4))
    seen = list(itertools.islice(feed, 2))
    loader, place, _ = reopened(make(8), make(8), feed.state_dict(2), 0, 1)
    seen += list(Feed(loader, saved=place))
    for position, expected in enumerate((range(24), range(4))):
        found = itertools.chain.from_iterable(numbers(row[position]) for row in seen)
        assert sorted(found) == list(expected)


def test_a_sampler_of_the_users_is_known() -> None:
    data = Numbers(9)
    given: DistributedSampler[int] = DistributedSampler(data, 2, 1, shuffle=True, seed=3)
    shared = share_training(DataLoader(data, 2, sampler=given), 1, 2)
    assert type(shared.sampler) is SharedSampler
    assert list(shared.sampler) == list(given)
