from __future__ import annotations

import os
import pstats
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.profilers.advanced import AdvancedProfiler
from fulmen.utilities.exceptions import MisconfigurationException

Tree = tuple[str, int, list["Tree"]]  # an action, how often it calls `marked` before each inner action and at its end

trees = st.recursive(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.just([])),
    lambda inner: st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.lists(inner, max_size=3)),
    max_leaves=6,
)


def marked() -> None:
    """What the tables are searched for."""


def carry_out(profiler: AdvancedProfiler, tree: Tree) -> None:
    name, calls, inner = tree
    with profiler.profile(name):
        for one in inner:
            for _ in range(calls):
                marked()
            carry_out(profiler, one)
        for _ in range(calls):
            marked()


def expected(tree: Tree, within: frozenset[str] = frozenset()) -> Counter[str]:
    name, calls, inner = tree
    within |= {name}
    counts = Counter({action: calls * (len(inner) + 1) for action in within})
    for one in inner:
        counts += expected(one, within)
    return counts


def calls_of(function: str, report: str) -> dict[str, int]:
    """For each action's table the number of calls of a function."""
    tables = report.split("Profile stats for: ")[1:]
    found = {table.split("\n")[0]: re.search(rf"(\d+) .*\({function}\)", table) for table in tables}
    return {action: int(match[1]) if match else 0 for action, match in found.items()}


@given(tree=trees)
def test_calls_are_counted_for_each_action_around_them(tree: Tree) -> None:
    profiler = AdvancedProfiler()
    carry_out(profiler, tree)
    found = calls_of("marked", profiler.summary())
    assert Counter(found) == expected(tree)  # counters are equal where they differ by zeros alone


def test_recording_goes_on_after_the_report() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("a"):
        marked()
        assert calls_of("marked", profiler.summary()) == {"a": 1}
        marked()
    assert calls_of("marked", profiler.summary()) == {"a": 2}


def test_actions_may_end_in_any_order() -> None:
    profiler = AdvancedProfiler()
    profiler.start("a")
    profiler.start("b")
    marked()
    profiler.stop("a")
    marked()
    profiler.stop("b")
    marked()
    assert calls_of("marked", profiler.summary()) == {"a": 1, "b": 2}


def test_times_are_those_of_the_clock() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("a"):
        time.sleep(0.02)
    assert re.search(r"1 +0\.0[2-9]\d +0\.0[2-9]\d .*time\.sleep", profiler.summary())


@pytest.mark.parametrize(("restriction", "lines"), [(1, 1), (2, 2), (1.0, None)])
def test_the_tables_can_be_cut(restriction: float, lines: int | None) -> None:
    profiler = AdvancedProfiler(line_count_restriction=restriction)
    with profiler.profile("a"):
        sorted([marked(), marked()], key=repr)
        time.monotonic()
    shown = profiler.summary().split("filename:lineno(function)\n")[1].split()
    functions = [word for word in shown if "(" in word or "{" in word]
    assert len(functions) == lines if lines is not None else len(functions) > 4


def test_tables_are_saved(tmp_path: Path) -> None:
    profiler = AdvancedProfiler(dirpath=tmp_path, filename="calls", dump_stats=True)
    profiler.setup("fit", local_rank=1)
    with profiler.profile("a/b"):
        marked()
    profiler.describe()
    assert sorted(os.listdir(tmp_path)) == ["fit-calls-1-a_b.prof", "fit-calls-1.txt"]
    stats = pstats.Stats(str(tmp_path / "fit-calls-1-a_b.prof"))
    assert any(name == "marked" for _, _, name in stats.stats)  # type: ignore[attr-defined]
    assert "FIT Profiler Report\nProfile stats for: a/b\n" in (tmp_path / "fit-calls-1.txt").read_text()


def test_what_does_not_run_is_not_stopped() -> None:
    profiler = AdvancedProfiler()
    with profiler.profile("a"):
        with pytest.raises(MisconfigurationException, match=re.escape("Write `with profiler.profile('b'): ...`")):
            profiler.stop("b")
        marked()
    assert calls_of("marked", profiler.summary()) == {"a": 1}
