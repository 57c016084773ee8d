from __future__ import annotations

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.enums import GradClipAlgorithmType, LightningEnum


class Kind(LightningEnum):
    ONE = "one"
    TWO = "Two"


class Other(str, Enum):
    ONE = "ONE"


@given(st.sampled_from(list(Kind)), st.lists(st.booleans(), min_size=3, max_size=3))
def test_case_does_not_count(kind: Kind, upper: list[bool]) -> None:
    spelled = "".join(c.upper() if up else c.lower() for c, up in zip(kind.value, upper, strict=True))
    assert kind == spelled
    assert {kind: 1}[Kind(kind.value)] == 1
    assert hash(kind) == hash(kind.value.lower())


def test_what_else_is_equal_and_what_is_not() -> None:
    assert Kind.ONE == Other.ONE
    assert Kind.ONE != Kind.TWO
    assert Kind.ONE != 1
    assert str(Kind.TWO) == "Two"


def test_from_str() -> None:
    assert Kind.from_str("ONE") is Kind.ONE
    assert Kind.from_str("three") is None


@pytest.mark.parametrize(("name", "known"), [("norm", True), ("VALUE", True), ("max", False)])
def test_the_ways_to_clip(name: str, known: bool) -> None:
    assert GradClipAlgorithmType.supported_type(name) is known
    assert GradClipAlgorithmType.supported_types() == ["value", "norm"]
