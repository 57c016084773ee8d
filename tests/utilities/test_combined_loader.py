from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException

MODES = ["min_size", "max_size_cycle", "max_size", "sequential"]


class Endless:
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_modes(lengths: list[int]) -> None:
    loaders = [range(length) for length in lengths]
    rows = {
        "min_size": [[i] * len(lengths) for i in range(min(lengths))],
        "max_size_cycle": [[i % n for n in lengths] for i in range(max(lengths))],
        "max_size": [[i if i < n else None for n in lengths] for i in range(max(lengths))],
    }
    for mode, expected in rows.items():
        combined = CombinedLoader(loaders, mode)  # type: ignore[arg-type]
        assert list(combined) == [(row, i, 0) for i, row in enumerate(expected)]
        assert list(combined.rows()) == expected
        assert len(combined) == len(expected)
    combined = CombinedLoader(loaders, "sequential")
    assert list(combined) == [(i, i, position) for position, n in enumerate(lengths) for i in range(n)]
    assert len(combined) == sum(lengths)


def test_an_empty_loader_cannot_be_cycled() -> None:
    assert list(CombinedLoader([range(3), range(0)], "max_size_cycle")) == []


@pytest.mark.parametrize("mode", ["max_size_cycle", "max_size", "sequential"])
def test_no_length(mode: Any) -> None:
    with pytest.raises(TypeError, match="no length"):
        len(CombinedLoader([range(3), Endless()], mode))
    assert len(CombinedLoader([range(3), Endless()], "min_size")) == 3


def test_limits() -> None:
    combined = CombinedLoader({"a": range(3), "b": Endless()}, "sequential")
    combined.limits = [1, 2]
    assert list(combined) == [(0, 0, 0), (0, 0, 1), (0, 1, 1)]
    assert list(combined.rows()) == [0, 0, 0]
    assert len(combined) == 3
    combined.limits = 2
    assert combined.limits == [2, 2]
    combined.limits = None
    assert combined.limits is None
    with pytest.raises(MisconfigurationException, match="Assign a list of 2 numbers"):
        combined.limits = [1]


def test_nest_of_loaders() -> None:
    nest = {"a": [range(2), deque([range(3)])], "b": (range(4), OrderedDict(c=range(5)))}
    combined = CombinedLoader(nest)
    assert combined.flattened == [range(2), range(3), range(4), range(5)]
    batch, index, position = next(iter(combined))
    assert batch == {"a": [0, deque([0])], "b": (0, OrderedDict(c=0))}
    assert (index, position) == (0, 0)
    combined.flattened = [[[9], [8]]] * 4
    assert combined.iterables["b"][1]["c"] == [[9], [8]]
    assert next(iter(combined))[0]["a"] == [[9], deque([[9]])]
    with pytest.raises(MisconfigurationException, match="Make a new `CombinedLoader`"):
        combined.flattened = [[1]]


def test_samplers() -> None:
    class Loader(list[int]):
        sampler, batch_sampler = "s", "b"

    combined = CombinedLoader({"a": Loader([1]), "b": [range(2)]})
    assert combined.sampler == {"a": "s", "b": [None]}
    assert combined.batch_sampler == {"a": "b", "b": [None]}


def test_each_pass_starts_anew() -> None:
    combined = CombinedLoader([range(3)], "max_size")
    iterator = iter(combined)
    assert iterator is combined
    next(iterator)
    assert next(iter(combined)) == ([0], 0, 0)
    combined.reset()
    with pytest.raises(MisconfigurationException, match="Call `iter"):
        next(combined)


def test_rows_are_a_pass_of_their_own() -> None:
    combined = CombinedLoader([range(3)])
    iter(combined)
    next(combined)
    assert list(combined.rows(lambda loader: iter([7, 8]))) == [[7], [8]]
    assert next(combined) == ([1], 1, 0)


def test_unknown_mode() -> None:
    with pytest.raises(MisconfigurationException, match="mode='max_size_cycle'"):
        CombinedLoader([range(3)], "longest")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_copies(mode: Any) -> None:
    combined = CombinedLoader({"a": range(2), "b": range(3)}, mode)
    iter(combined)
    for other in (copy.deepcopy(combined), pickle.loads(pickle.dumps(combined)), copy.copy(combined)):
        assert list(other) == list(combined)
