"""`CombinedLoader` beside PyTorch Lightning's: what it gives, and when it reads from which loader."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fulmen.utilities.combined_loader import CombinedLoader

# Lightning's own use of torch's pytree.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
MODES = ["min_size", "max_size_cycle", "max_size", "sequential"]
Pair = namedtuple("Pair", "x y")


@pytest.fixture
def reference(lightning: ModuleType) -> Any:
    return pytest.importorskip("pytorch_lightning.utilities.combined_loader").CombinedLoader


class Recorded:
    def __init__(self, name: str, length: int, log: list[str]) -> None:
        self.name, self.length, self.log = name, length, log

    def __iter__(self) -> Iterator[int]:
        self.log.append(f"open {self.name}")
        return self.read()

    def read(self) -> Iterator[int]:
        for index in range(self.length):
            self.log.append(f"read {self.name} {index}")
            yield index
        self.log.append(f"end {self.name}")


def attempt(act: Callable[[], Any]) -> Any:
    # Lightning asks for `iter()` before `len()` and has its own errors; what counts is whether there is a result.
    try:
        return act()
    except Exception:
        return "error"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", [(3, 2), (2, 3), (1, 0, 2), (0, 0), (2, 2), (1, 5, 3), (4,)])
@pytest.mark.parametrize("limits", [None, 2, math.inf, (1, 2, 0)])
def test_order_of_reading(reference: Any, mode: str, lengths: tuple[int, ...], limits: Any) -> None:
    def record(kind: Any) -> list[Any]:
        log: list[Any] = []
        combined = kind([Recorded(str(i), length, log) for i, length in enumerate(lengths)], mode)
        combined.limits = list(limits[: len(lengths)]) if isinstance(limits, tuple) else limits
        iterator = iter(combined)
        log.append("opened")
        while (item := next(iterator, None)) is not None:
            log.append(item)
        return log

    assert record(CombinedLoader) == record(reference)


NESTS: list[Callable[[], Any]] = [
    lambda: range(3),
    lambda: [range(3), range(2)],
    lambda: (range(3), range(2)),
    lambda: Pair(range(3), range(2)),
    lambda: {"b": [1], "a": {"c": [4, 5], "d": [6]}},
    lambda: OrderedDict(b=[1, 2], a=[3]),
    lambda: defaultdict(list, {"a": [1]}),
    lambda: deque([[1], [2, 3]]),
    lambda: [[[1, 2], [3]], [4]],
    lambda: [[(1, 2), (3,)]],
    lambda: {"a": (1, 2)},
    lambda: {"a": {1}},
    lambda: [[], []],
    lambda: [],
    lambda: [{}, [1]],
    lambda: {"a": {}},
    lambda: ["ab", "cd"],
    lambda: "ab",
    lambda: [None, [1]],
    lambda: [1, [2]],
    lambda: [[range(2), 5]],
    lambda: 5,
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nest", NESTS)
def test_nests(reference: Any, mode: str, nest: Callable[[], Any]) -> None:
    def facts(kind: Any) -> list[Any]:
        combined = kind(nest(), mode)
        batches = attempt(lambda: list(combined))
        length = attempt(lambda: len(combined)) if batches != "error" else None
        return [combined.flattened, batches, length, combined.sampler, combined.batch_sampler, combined.limits]

    mine, theirs = facts(CombinedLoader), facts(reference)
    assert mine == theirs
    assert repr(mine) == repr(theirs)


def test_loaders_without_iter(reference: Any) -> None:
    data = TensorDataset(torch.arange(3))
    assert CombinedLoader([data, data]).flattened == reference([data, data]).flattened == [data, data]


@pytest.mark.parametrize("mode", MODES)
def test_random_draws(reference: Any, mode: str) -> None:
    def run(kind: Any) -> tuple[str, list[int]]:
        torch.manual_seed(0)
        loaders = [DataLoader(TensorDataset(torch.arange(n)), 2, shuffle=True) for n in (5, 9)]
        combined = kind(loaders, mode)
        seen = [str(item) for _ in range(2) for item in combined]
        return str(seen), torch.get_rng_state().tolist()

    assert run(CombinedLoader) == run(reference)


@pytest.mark.parametrize("limits", [2, [1, 2], None, math.inf])
@pytest.mark.parametrize("mode", MODES)
def test_length_with_limits(reference: Any, mode: str, limits: Any) -> None:
    def length(kind: Any) -> Any:
        combined = kind({"a": range(3), "b": range(5)}, mode)
        combined.limits = limits
        iter(combined)
        return len(combined), combined.limits

    assert length(CombinedLoader) == length(reference)


def test_flattened_can_be_assigned(reference: Any) -> None:
    def run(kind: Any) -> Any:
        combined = kind({"a": [1, 2], "b": [[3]]})
        combined.flattened = [[5, 6], range(2)]
        return combined.iterables, list(combined)

    assert run(CombinedLoader) == run(reference)
