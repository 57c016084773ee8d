from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.profilers.simple import SimpleProfiler
from fulmen.utilities.exceptions import MisconfigurationException

durations = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=5)
recordings = st.dictionaries(st.text("abc[]._ ", min_size=1).map(str.strip).filter(bool), durations, max_size=6)


def rows(report: str) -> list[list[str]]:
    lines = [line for line in report.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_durations_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 1.5, 2.0, 4.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    profiler = SimpleProfiler()
    with profiler.profile("outer"), profiler.profile("inner"):
        pass
    assert profiler.recorded_durations == {"outer": [3.0], "inner": [0.5]}
    assert rows(profiler.summary()) == [
        ["Action", "Mean duration (s)", "Num calls", "Total time (s)", "Percentage %"],
        ["Total", "-", "2", "10", "100 %"],
        ["outer", "3", "1", "3", "30"],
        ["inner", "0.5", "1", "0.5", "5"],
    ]


@given(recorded=recordings, extended=st.booleans())
def test_the_report_holds_every_action_once(recorded: dict[str, list[float]], extended: bool) -> None:
    profiler = SimpleProfiler(extended=extended)
    profiler.recorded_durations.update(recorded)
    report = profiler.summary()
    if not recorded:
        assert report == "Profiler Report\n\nNo action was recorded.\n"
        return
    body = rows(report)[2 if extended else 1 :]
    assert sorted(row[0] for row in body) == sorted(recorded)
    for row in body:
        times = recorded[row[0]]
        assert float(row[1]) == pytest.approx(sum(times) / len(times), rel=1e-4)
        assert float(row[3 if extended else 2]) == pytest.approx(sum(times), rel=1e-4)
    order = [float(row[3 if extended else 1]) for row in body]
    assert order == sorted(order, reverse=True)
    assert len({len(line) for line in report.splitlines()[2:]}) == 1, "the columns are not in line"


def test_the_whole_is_counted_from_the_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    profiler = SimpleProfiler()
    now = 100.0
    profiler.setup("fit")
    with profiler.profile("a"):
        now = 101.0
    now = 102.0
    profiler.setup("test")
    now = 104.0
    report = profiler.summary()
    assert report.startswith("TEST Profiler Report\n")
    assert rows(report)[1:] == [["Total", "-", "1", "4", "100 %"], ["a", "1", "1", "1", "25"]]


def test_what_runs_is_not_started_again() -> None:
    profiler = SimpleProfiler()
    profiler.start("a")
    with pytest.raises(MisconfigurationException, match=re.escape("Call `profiler.stop('a')` first")):
        profiler.start("a")


@pytest.mark.parametrize("error", [ValueError, MisconfigurationException])
def test_what_does_not_run_is_not_stopped(error: type[Exception]) -> None:
    with pytest.raises(error, match=re.escape("Write `with profiler.profile('a'): ...`")):
        SimpleProfiler().stop("a")
