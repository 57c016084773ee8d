from __future__ import annotations

import pytest

from fulmen.utilities.places import KEY, MEMBER, Place, Section, Text, render


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (None, ""),
        ((None, "lr"), "lr"),
        (((None, "deep"), "list"), "deep.list"),
        ((((None, "deep"), "list"), 1), "deep.list[1]"),
        (((None, "deep"), "not a name"), "deep['not a name']"),
        (((None, "deep"), KEY), "deep (a key)"),
        (((None, "deep"), MEMBER), "deep{...}"),
        ((((None, Section("callbacks")), "EMA"), "fn"), "callbacks['EMA'].fn"),
        (((None, Section("optimizer_states")), 0), "optimizer_states[0]"),
        (((None, Text("what it is called")), "x"), "what it is called.x"),
    ],
)
def test_says_where(place: Place, words: str) -> None:
    assert render(place) == words
