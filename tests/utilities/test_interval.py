from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.interval import Interval


@pytest.mark.parametrize(
    ("given_value", "value", "unit"),
    [
        (0.25, 0.25, "epoch fraction"),
        (1.0, 1.0, "epoch fraction"),
        (100, 100, "batches"),
        ("500 steps", 500, "steps"),
        ("1 step", 1, "steps"),
        ("100 batches", 100, "batches"),
        ("1 batch", 1, "batches"),
        ("2 epochs", 2, "epochs"),
        ("30s", 30, "seconds"),
        ("1.5 hours", 5400, "seconds"),
        ("2 days", 172800, "seconds"),
        ("10 min", 600, "seconds"),
        ("00:01:00:00", 3600, "seconds"),
        ({"hours": 1, "minutes": 1}, 3660, "seconds"),
        (timedelta(minutes=2), 120, "seconds"),
        (Interval(7, "steps"), 7, "steps"),
    ],
)
def test_every_spelling(given_value: object, value: float, unit: str) -> None:
    assert Interval.parse(given_value) == Interval(value, unit)  # type: ignore[arg-type]


@given(st.integers(0, 400), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_clock_is_a_timedelta(days: int, hours: int, minutes: int, seconds: int) -> None:
    clock = f"{days:02d}:{hours:02d}:{minutes:02d}:{seconds:02d}"
    meant = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert Interval.duration(clock) == Interval.parse(meant)


@pytest.mark.parametrize("wrong", [1.5, -1, -0.5, True, None, "", "soon", "01:00:00", "1.5 steps", {"weks": 1}, [1]])
def test_nonsense_is_told_what_to_write(wrong: object) -> None:
    with pytest.raises(MisconfigurationException, match=r"`val_check_interval` must be.*[\s\S]*For example 0.25"):
        Interval.parse(wrong, "val_check_interval")


@pytest.mark.parametrize("wrong", [0.5, 100, "500 steps", timedelta(seconds=-1)])
def test_a_duration_is_a_time(wrong: object) -> None:
    with pytest.raises(MisconfigurationException, match=re.escape('"DD:HH:MM:SS"')):
        Interval.duration(wrong)


def test_counts_have_no_seconds() -> None:
    with pytest.raises(ValueError, match="steps"):
        _ = Interval(3, "steps").seconds
