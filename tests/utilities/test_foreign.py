from __future__ import annotations

import argparse
import io
import pathlib
from collections import OrderedDict, defaultdict
from typing import Any

import pytest
import torch

from fulmen.utilities.codec import decode
from fulmen.utilities.foreign import well_known
from fulmen.utilities.parsing import AttributeDict


def load(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    with well_known():
        return decode(torch.load(file, weights_only=True))


@pytest.mark.parametrize(
    "value",
    [
        pathlib.Path("a/b"),
        pathlib.PurePosixPath("/a"),
        pathlib.PureWindowsPath("c:/a"),
        argparse.Namespace(a=[pathlib.Path("x")]),
        AttributeDict(a=AttributeDict(b=pathlib.Path("x"))),
        AttributeDict(),
        defaultdict(list, a=[1]),
        defaultdict(None, a=1),
        OrderedDict(a=AttributeDict(b=1)),
    ],
    ids=repr,
)
def test_what_others_pickle_comes_back_by_value(value: Any) -> None:
    back = load({"x": [value]})["x"][0]
    assert type(back) is type(value)
    assert back == value
    assert getattr(back, "default_factory", None) is getattr(value, "default_factory", None)


def test_nested_attribute_dicts_stay_such() -> None:
    assert type(load(AttributeDict(a=AttributeDict(b=1))).a) is AttributeDict


def test_only_while_it_is_asked_for() -> None:
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([argparse.Namespace]):
        with well_known():
            assert len(torch.serialization.get_safe_globals()) > len(before) + 1
        assert set(torch.serialization.get_safe_globals()) == {argparse.Namespace, *before}
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(Exception, match="Unsupported global"):
        torch.load(io.BytesIO(_bytes(pathlib.Path("x"))), weights_only=True)


def _bytes(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()
