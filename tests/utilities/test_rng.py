"""Notes of the host's generators, and numpy's in particular, which keeps a number between two calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities import rng
from fulmen.utilities.seed import isolate_rng

DRAWS: dict[str, Callable[[], Any]] = {
    "numpy": numpy.random.rand,
    "numpy, normal": numpy.random.randn,
    "torch": lambda: torch.rand(()).item(),
    "torch, normal": lambda: torch.randn(()).item(),
    "python": random.random,
    "python, normal": lambda: random.gauss(0, 1),
}


@given(
    acts=st.lists(
        st.one_of(st.sampled_from(list(DRAWS)), st.just("note"), st.integers(0, 9), st.just("isolated")), max_size=40
    ),
    packs=st.booleans(),
)
def test_a_note_brings_back_what_follows_on_it(acts: list[Any], packs: bool) -> None:
    """Whatever was drawn, noted and put back in between."""

    def next_ones() -> list[Any]:
        return [draw() for draw in DRAWS.values() for _ in range(3)]

    notes: list[tuple[rng.HostRng, list[Any]]] = []
    for act in acts:
        if act == "note":
            note = rng.note()
            whole = (random.getstate(), torch.get_rng_state(), numpy.random.get_state())
            following = next_ones()
            random.setstate(whole[0])
            torch.set_rng_state(whole[1])
            numpy.random.set_state(whole[2])
            notes.append((rng.unpacked(rng.pack(note)) if packs else rng.HostRng.of(note.plain()), following))
        elif act == "isolated":
            with isolate_rng():
                numpy.random.randn()
        elif isinstance(act, int) and notes:
            notes[act % len(notes)][0].put()
        elif act in DRAWS:
            DRAWS[act]()
    for note, following in notes:
        note.put()
        assert next_ones() == following


def test_same() -> None:
    for draw in DRAWS.values():
        before = rng.note()
        assert rng.same(before, rng.note())
        draw()
        assert not rng.same(before, rng.note())
