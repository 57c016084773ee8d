from __future__ import annotations

import argparse
import collections
import enum
import functools
import io
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.codec import decode, encode
from fulmen.utilities.parsing import AttributeDict

scalars = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8]).flatmap(
    lambda kind: st.integers(0, 200).map(kind)
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.text("ab/.", min_size=1).map(pathlib.Path)
    | st.booleans().map(np.bool_)
    | scalars
)
keys = st.text() | st.integers() | st.just("__fulmen__")
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(collections.OrderedDict)
        | st.dictionaries(st.text("abc", min_size=1), inner).map(lambda items: argparse.Namespace(**items))
        | st.frozensets(st.integers()).map(set)
    ),
    max_leaves=10,
)


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value), [(type(key), types(item)) for key, item in value.items()]
    if isinstance(value, argparse.Namespace):
        return type(value), types(vars(value))
    return type(value), [types(item) for item in value] if isinstance(value, (list, tuple)) else None


@given(values)
def test_what_is_encoded_can_be_loaded_safely_and_comes_back(value: Any) -> None:
    stored, refused = encode(value)
    assert refused == []
    back = decode(through_a_file(stored))
    if not _tagged_ordered(value):
        assert types(back) == types(value)
    assert back == value


def _tagged_ordered(value: Any) -> bool:
    """Only an ordered dictionary with our own tag as a key loses its kind."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        own = type(value) is collections.OrderedDict and "__fulmen__" in value
        return own or any(map(_tagged_ordered, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_tagged_ordered, value))


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2),
        torch.nn.Parameter(torch.ones(1)),
        torch.Size([1, 2]),
        torch.float16,
        torch.device("meta"),
        torch.strided,
        bytearray(b"x"),
        collections.Counter("abca"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_torch_and_collections_pass_as_they_are(value: Any) -> None:
    stored, refused = encode({"x": value})
    assert refused == []
    back = decode(through_a_file(stored))["x"]
    assert type(back) is type(value)
    assert torch.equal(back, value) if isinstance(value, torch.Tensor) else back == value


def test_an_attribute_dict_is_stored_as_a_dict() -> None:
    stored, _ = encode(AttributeDict(a=AttributeDict(b=1)))
    assert types(stored) == types({"a": {"b": 1}})


class Colour(enum.Enum):
    RED = 1


class Name(str):
    pass


REFUSED = {
    "module": torch.nn.ReLU(),
    "enum": Colour.RED,
    "text": Name("x"),
    "lambda": lambda: 1,
    "function": torch.relu,
    "class": int,
    "partial": functools.partial(int),
    "frozen": frozenset([1]),
    "default": collections.defaultdict(int),
    "array": np.ones(2),
    "range": range(3),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_names_what_has_no_safe_form(kind: str) -> None:
    """Each of these is refused by a safe load, or by pickle, if it is stored as it is."""
    value = REFUSED[kind]
    _, refused = encode({"good": 1, "deep": {"list": [1, value]}})
    assert refused == [f"deep.list[1] ({type(value).__module__}.{type(value).__qualname__})"]
    with pytest.raises(Exception, match=r"Weights only load failed|[Cc]an't (get|pickle)"):
        through_a_file(value)


def test_what_torch_was_told_to_allow_is_kept() -> None:
    with torch.serialization.safe_globals([Colour]):
        stored, refused = encode({"mode": Colour.RED})
        assert (stored, refused) == ({"mode": Colour.RED}, [])
        assert through_a_file(stored) == stored


def test_an_unknown_tag_is_left_alone() -> None:
    assert decode({"__fulmen__": "later", "value": 1}) == {"__fulmen__": "later", "value": 1}
