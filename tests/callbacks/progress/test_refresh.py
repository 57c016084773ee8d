from __future__ import annotations

import io
import itertools
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.progress import refresh
from fulmen.callbacks.progress.refresh import END, TURN, WITHIN, RefreshClock, in_notebook, line_clock, redraws

from .runs import Time

EVENTS = st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from([END, TURN, WITHIN])), max_size=300)


def _drawings(clock: RefreshClock, time: Time, events: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """When what was drawn, if a drawing within an epoch is only asked for when it is due."""
    drawn = []
    for wait, keep in events:
        time.now += wait
        if (keep != WITHIN or time.now >= clock.due) and clock.allows(keep):
            drawn.append((time.now, keep))
    return drawn


def _clock(patch: pytest.MonkeyPatch) -> tuple[RefreshClock, Time]:
    time = Time()
    patch.setattr(refresh, "monotonic", time)
    return RefreshClock(), time


@given(EVENTS)
def test_ten_a_second_over_any_time(events: list[tuple[float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, time = _clock(patch)
        times = [when for when, _ in _drawings(clock, time, events)]
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= 10 * (times[last] - times[first]) + clock.size + 1e-6


@given(EVENTS)
def test_within_an_epoch_never_sooner_than_a_tenth_of_a_second(events: list[tuple[float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, time = _clock(patch)
        drawn = _drawings(clock, time, events)
    for (before, _), (when, keep) in itertools.pairwise(drawn):
        assert keep != WITHIN or when - before >= 0.1 - 1e-6


@given(EVENTS)
def test_ends_a_tenth_of_a_second_apart_are_all_drawn(events: list[tuple[float, int]]) -> None:
    """Whatever else asks: only epochs that fly by faster go unseen."""
    with pytest.MonkeyPatch.context() as patch:
        clock, time = _clock(patch)
        last_end = float("-inf")
        for wait, keep in events:
            time.now += wait
            if keep != END:
                clock.allows(keep)
            elif time.now - last_end >= 0.1:
                assert clock.allows(END)
                last_end = time.now


def test_a_long_epoch_is_drawn_ten_times_a_second() -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, time = _clock(patch)
        drawn = _drawings(clock, time, [(0.001, WITHIN)] * 20_000)
    assert 190 <= len(drawn) <= 200


def test_the_ends_of_ten_thousand_short_epochs_are_a_line_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    monkeypatch.setattr(refresh, "monotonic", time)
    drawn = _drawings(line_clock(), time, [(0.01, END)] * 10_000)
    assert len(drawn) <= 100 + 20


def _notebook(monkeypatch: pytest.MonkeyPatch, config: object) -> None:
    module = SimpleNamespace(get_ipython=lambda: SimpleNamespace(config=config))
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_a_notebook_is_known_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    _notebook(monkeypatch, {"IPKernelApp": {}})
    assert in_notebook()
    assert redraws(io.StringIO())


def test_the_shell_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    _notebook(monkeypatch, {"TerminalIPythonApp": {}})
    assert not in_notebook()


def test_nobody_redraws_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not redraws(io.StringIO())
    assert not redraws(None)
