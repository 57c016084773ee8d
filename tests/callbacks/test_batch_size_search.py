from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.batch_size_search import Search, check_search
from fulmen.utilities.exceptions import MisconfigurationException


def search(mode: str, room: int, samples: int | None, max_val: int, **options: Any) -> tuple[int | None, list[int]]:
    """What is found where sizes up to `room` fit, and what was tried."""
    tried: list[int] = []

    def attempt(size: int) -> bool:
        tried.append(size)
        return min(size, samples or size) <= room

    known = Search(attempt, lambda: samples if tried else None, max_val)
    try:
        return known.run(mode, options["init_val"], options["max_trials"], options["margin"]), tried
    except MisconfigurationException:
        return None, tried


@given(
    st.sampled_from(["power", "binsearch"]), st.integers(0, 400), st.none() | st.integers(1, 500), st.integers(1, 600),
    st.integers(1, 300), st.integers(1, 30), st.floats(0, 0.9),
)  # fmt: skip
def test_what_is_found_fits(
    mode: str, room: int, samples: int | None, max_val: int, init_val: int, max_trials: int, margin: float
) -> None:
    found, tried = search(
        mode, room, samples, max_val, init_val=init_val, max_trials=max_trials, margin=margin
    )  # fmt: skip
    fits = [effective for size in tried if (effective := min(size, samples or size)) <= room]
    assert len(tried) <= max_trials and len(set(tried)) == len(tried)
    assert all(1 <= size <= max_val for size in tried)
    if found is None:
        assert not fits
        return
    assert min(found, samples or found) <= room and found <= max(fits)
    if mode == "power":
        assert found == max(fits)
    else:
        assert found >= max(int(max(fits) * (1 - margin)), 1)
    if len(tried) < max_trials:  # it came to its end
        best = max(fits)
        limit = min(max_val, samples if samples is not None else max_val)
        if mode == "binsearch":
            assert best in (min(room, max_val), limit) or best == init_val
        else:
            assert best * 2 > min(room, limit) or best >= limit
        everything = samples is not None and samples < max_val and best >= samples and len(fits) == len(tried)
        if mode == "binsearch":
            assert found == (best if everything else max(int(best * (1 - margin)), 1))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"mode": "x"}, 'Pass "power" to double'),
        ({"steps": 0}, "Leave `steps_per_trial` out"),
        ({"init_val": 0}, "Leave `init_val` out"),
        ({"max_trials": 1.5}, "Leave `max_trials` out"),
        ({"max_val": -1}, "Leave `max_val` out"),
        ({"margin": 1.0}, "Pass 0.05 for 5 %"),
        ({"margin": -0.1}, "Pass 0.05 for 5 %"),
    ],
)
def test_searches_that_make_no_sense(change: dict[str, Any], remedy: str) -> None:
    sound = {"mode": "power", "steps": 3, "init_val": 2, "max_trials": 25, "margin": 0.05, "max_val": 8192}
    check_search(**sound)
    with pytest.raises(MisconfigurationException, match=remedy):
        check_search(**{**sound, **change})


def test_nothing_fits() -> None:
    known = Search(lambda size: False, lambda: None, 100)
    with pytest.raises(MisconfigurationException, match="Make the model or the samples smaller"):
        known.run("power", 8, 25, 0.05)
    assert known.fails == 1
