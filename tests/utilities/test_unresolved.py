from __future__ import annotations

import argparse
import copy
import functools
import operator
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fulmen.utilities.unresolved import Unresolved, UnresolvedError, is_whole, placeholders

WAITING = Unresolved("Enum `app:Colour`", "mode", "nobody imported it", "Import `app`.", "RED", {})


@pytest.mark.parametrize(
    "use",
    [
        lambda it: it.name,
        lambda it: it(),
        lambda it: it[0],
        iter,
        len,
        bool,
        int,
        float,
        Path,
        list,
        lambda it: 1 in it,
        lambda it: it + 1,
        lambda it: 2 * it,
        lambda it: it < 1,
        lambda it: hasattr(it, "weight"),
        operator.neg,
        operator.index,
    ],
)
def test_any_use_says_what_to_do(use: Any) -> None:
    with pytest.raises(UnresolvedError, match=r"(?s)`mode` was not made.*nobody imported it.*'RED'.*Import `app`"):
        use(WAITING)


def test_it_can_be_shown_compared_and_copied() -> None:
    assert repr(WAITING) == str(WAITING) == f"{WAITING}" == "<Unresolved Enum `app:Colour`: 'RED'>"
    assert WAITING in [WAITING]
    assert WAITING != 1
    assert {WAITING: 1}[WAITING] == 1
    assert repr(copy.deepcopy(WAITING)) == repr(WAITING)
    assert len(repr(Unresolved("x", "", "", "", "v" * 9999, {}))) < 300


@pytest.mark.parametrize(
    "around",
    [
        lambda it: it,
        lambda it: [1, it],
        lambda it: {"a": (it,)},
        lambda it: {it: 1},
        lambda it: {it},
        lambda it: deque([it]),
        lambda it: slice(it),
        lambda it: functools.partial(print, x=it),
        lambda it: argparse.Namespace(x=[it]),
        lambda it: np.array([it, 1], object),
    ],
)
def test_placeholders_are_found_wherever_they_are(around: Any) -> None:
    assert list(placeholders(around(WAITING))) == [WAITING]
    assert not is_whole(around(WAITING))


def test_a_nest_that_holds_itself_ends() -> None:
    ring: list[Any] = [np.ones(2), "text"]
    ring.append(ring)
    assert is_whole(ring)
