from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.tree import apply_to_collection, batch_size_of, leaves, move_data_to_device


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Batch:
    inputs: Any
    name: str = "batch"
    computed: Any = field(init=False, default=None)


class Cargo:
    """Has a ``to`` of its own."""

    def __init__(self, returns: bool = True) -> None:
        self.places: list[torch.device] = []
        self.returns = returns

    def to(self, device: torch.device) -> Any:
        self.places.append(device)
        return self if self.returns else None


def nests(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.text(max_size=2), inner, max_size=3)
            | st.builds(Pair, inner, inner)
            | st.builds(Batch, inner)
        ),
        max_leaves=8,
    )


NESTS = nests(st.integers() | st.text(max_size=3) | st.none())


@given(NESTS)
def test_identity_rebuilds_the_same_nest(nest: Any) -> None:
    assert apply_to_collection(nest, int, lambda leaf: leaf) == nest


@given(NESTS)
def test_every_leaf_of_the_type_is_changed_and_no_other(nest: Any) -> None:
    def strings(value: Any) -> list[Any]:
        return [leaf for leaf in leaves(value) if not isinstance(leaf, int)]

    changed = apply_to_collection(nest, int, lambda leaf, by: leaf + by, by=1)
    numbers = [leaf for leaf in leaves(nest) if isinstance(leaf, int)]
    assert [leaf for leaf in leaves(changed) if isinstance(leaf, int)] == [number + 1 for number in numbers]
    assert strings(changed) == strings(nest)


@pytest.mark.parametrize(
    "data", [OrderedDict(b=1, a=2), defaultdict(int, a=1), UserDict(a=1), Pair(1, 2), (1, 2), [1, 2], Batch(1)]
)
def test_the_kind_of_collection_stays(data: Any) -> None:
    changed = apply_to_collection(data, int, str)
    assert type(changed) is type(data)
    assert next(iter(leaves(changed))) == "1"


def test_a_mapping_that_cannot_be_copied_becomes_a_dict() -> None:
    class ReadOnly(UserDict[str, int]):
        def copy(self) -> Any:
            raise TypeError("not to be copied")

    assert apply_to_collection(ReadOnly(a=1), int, str) == {"a": "1"}


def test_text_is_one_leaf() -> None:
    assert list(leaves(["ab", b"cd", 1])) == ["ab", b"cd", 1]


def test_tensors_move_and_the_rest_stays() -> None:
    moved = move_data_to_device({"x": torch.ones(2), "y": ["text", 3, None, torch.Tensor]}, "meta")
    assert moved["x"].device.type == "meta"
    assert moved["y"] == ["text", 3, None, torch.Tensor]


@pytest.mark.parametrize("returns", [True, False])
def test_what_has_a_to_moves_itself(returns: bool) -> None:
    cargo = Cargo(returns)
    assert move_data_to_device([cargo], "cpu")[0] is cargo
    assert cargo.places == [torch.device("cpu")]


@given(nests(st.builds(torch.zeros, st.integers(0, 4)) | st.just("text")))
def test_the_batch_size_is_the_length_of_the_first_tensor(nest: Any) -> None:
    tensors = [leaf for leaf in leaves(nest) if isinstance(leaf, torch.Tensor)]
    assert batch_size_of(nest) == (len(tensors[0]) if tensors else None)


@pytest.mark.parametrize(
    ("make", "size"),
    [(lambda: torch.tensor(3.0), 1), (lambda: [torch.tensor(3.0), torch.ones(5, 2)], 5), (lambda: ["a"], None)],
)
def test_scalars_count_where_there_is_nothing_else(make: Callable[[], Any], size: int | None) -> None:
    assert batch_size_of(make()) == size
