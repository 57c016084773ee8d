from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.exceptions import (
    MisconfigurationException,
    MisconfiguredHook,
    MisconfiguredRun,
    MisconfiguredType,
    MisconfiguredValue,
    SIGTERMException,
)


@given(st.text(min_size=1), st.integers() | st.none() | st.lists(st.integers()), st.text(min_size=1))
def test_rule_then_what_came_then_what_to_do(rule: str, got: Any, fix: str) -> None:
    assert str(MisconfigurationException(rule, got, fix)) == f"{rule}\nReceived: {got!r}\nWhat to do: {fix}"


def test_parts_that_are_not_there_are_left_out() -> None:
    assert str(MisconfigurationException("A rule.")) == "A rule."
    assert str(MisconfigurationException("A rule.", fix="Do it.")) == "A rule.\nWhat to do: Do it."
    assert str(MisconfigurationException("A rule.", got=None)) == "A rule.\nReceived: None"
    assert str(MisconfigurationException("A rule.", got="a text")) == "A rule.\nReceived: a text"
    assert str(MisconfigurationException()) == ""


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (MisconfiguredValue, ValueError),
        (MisconfiguredType, TypeError),
        (MisconfiguredRun, RuntimeError),
        (MisconfiguredHook, NotImplementedError),
    ],
)
def test_they_can_be_caught_as_pythons_own(kind: type[Exception], base: type[Exception]) -> None:
    with pytest.raises(base, match="A rule") as caught:
        raise kind("A rule.", "x", "y")
    assert isinstance(caught.value, MisconfigurationException)


def test_they_go_to_other_processes() -> None:
    error = MisconfiguredValue("A rule.", got=3, fix="Do it.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (MisconfiguredValue, str(error))


def test_sigterm_ends_the_process_with_its_status() -> None:
    with pytest.raises(SystemExit) as caught:
        raise SIGTERMException
    assert caught.value.code == 143
