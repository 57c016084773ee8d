"""Real processes that fail, die, stall and are asked to stop. All groups run at once, since most of it is waiting."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import warm
from tests.strategies.peers import scenarios

CODE = """
import sys
from pathlib import Path
from tests.strategies.peers import scenarios
groups = getattr(scenarios, sys.argv[1])
scenarios.main(Path.cwd(), groups, float(sys.argv[2]))
"""
LIMIT = 60


@dataclass
class Ended:
    folder: Path
    codes: dict[str, Any]

    def of(self, name: str) -> list[Any]:
        size = (scenarios.GROUPS | scenarios.LONG)[name][0]
        return [self.codes[f"{name}.{rank}"] for rank in range(size)]

    def err(self, name: str, rank: int) -> str:
        """What a rank has printed, but for the notes of torch's own C++ code."""
        text = (self.folder / f"{name}.{rank}.err").read_text()
        return re.sub(r"^(\[W\d+ .*\[c10d\]|Exception raised from|frame #|<omitting python).*\n+", "", text, flags=re.M)

    def out(self, name: str) -> list[str]:
        size = (scenarios.GROUPS | scenarios.LONG)[name][0]
        return [(self.folder / f"{name}.{rank}.out").read_text() for rank in range(size)]


def _run(folder: Path, groups: str) -> Ended:
    done = warm.run(CODE, groups, str(LIMIT), cwd=folder, timeout=2 * LIMIT)
    assert done.returncode == 0, done.stderr
    return Ended(folder, json.loads((folder / "codes.json").read_text()))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return _run(tmp_path_factory.mktemp("groups"), "GROUPS")


@pytest.fixture(scope="module")
def ended_late(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return _run(tmp_path_factory.mktemp("groups"), "LONG")


def test_nobody_hangs(ended: Ended) -> None:
    assert [name for name, code in ended.codes.items() if code == "hangs"] == []


def test_a_group_that_is_well(ended: Ended) -> None:
    assert ended.of("well") == [0, 0, 0]
    assert ended.out("well") == ["healthy\n"] * 3


@pytest.mark.parametrize(
    ("name", "code", "known", "advice"),
    [
        ("killed", -9, "is gone: its process ended without a word", "See in the system's log"),
        ("gone", 0, "has ended its program", "Call "),
    ],
)
def test_a_process_that_vanishes(ended: Ended, name: str, code: int, known: str, advice: str) -> None:
    """The other one sits in a collective, so the thread ends it."""
    assert ended.of(name) == [1, code]
    assert f"Rank 1 of 2 {known}" in ended.err(name, 0)
    assert f"What to do: {advice}" in ended.err(name, 0)


def test_a_process_that_ends(ended: Ended) -> None:
    assert ended.of("ended") == [1, 3]
    assert "Rank 1 of 2 has ended its process before the run was over" in ended.err("ended", 0)
    assert "What to do: Let every rank end the run" in ended.err("ended", 0)
    assert "SystemExit with the code 3" in ended.err("ended", 0)


def test_an_exception_is_the_last_that_is_printed(ended: Ended) -> None:
    """One rank prints the whole text, the other a line."""
    assert ended.of("failed") == [1, 1, 1]
    told = ended.err("failed", 0)
    assert "Rank 1 of 3 failed" in told
    assert "What to do: Mend the error of rank 1 below" in told
    assert "scenarios.py" in told
    assert told.endswith("ValueError: the mistake\n")
    assert ended.err("failed", 1).rstrip().endswith("ValueError: the mistake\non rank 1 of 3")
    assert ended.err("failed", 2) == "Rank 2 of 3 ends because rank 1 failed.\n"


def test_the_error_of_the_rank_that_held_the_store_outlives_it(ended: Ended) -> None:
    assert ended.of("first_failed") == [1, 1, 1]
    assert "Rank 0 of 3 failed" in ended.err("first_failed", 1)
    assert ended.err("first_failed", 1).endswith("ValueError: the mistake\n")
    assert "rank 0" in ended.err("first_failed", 2).splitlines()[-1] or "the mistake" in ended.err("first_failed", 2)


def test_who_comes_to_a_gate_raises(ended: Ended) -> None:
    assert ended.of("failed_beside_a_gate") == [1, 1]
    assert "PeerFailed: Rank 1 of 2 failed" in ended.err("failed_beside_a_gate", 0)
    assert ended.err("failed_beside_a_gate", 0).endswith("ValueError: the mistake\n")


def test_a_mistake_in_all_ranks_is_each_ones_own(ended: Ended) -> None:
    assert ended.of("all_failed") == [1, 1]
    for rank in range(2):
        assert f"ValueError: the mistake\non rank {rank} of 2" in ended.err("all_failed", rank)
        assert "PeerFailed" not in ended.err("all_failed", rank)


def test_a_broken_collective_names_who_broke_it(ended: Ended) -> None:
    assert ended.of("broken") == [1, -9]
    assert "PeerFailed: Rank 1 of 2 is gone" in ended.err("broken", 0)


def test_the_store_goes_with_the_process_that_holds_it(ended: Ended) -> None:
    assert ended.of("store_killed") == [-9, 1, 1]
    assert "Rank 0 of 3 is gone" in ended.err("store_killed", 1)


def test_a_stall_is_reported_and_ended(ended: Ended) -> None:
    assert ended.of("stalled") == [1, 1]
    text = "".join(ended.err("stalled", rank) for rank in range(2))
    line = next(
        number
        for number, line in enumerate(Path(scenarios.__file__).read_text().splitlines(), 1)
        if "the line that is looked for" in line
    )
    assert f"{scenarios.__file__}:{line} in stalled: time.sleep(300)" in text
    assert "scenarios.py" in text.partition("Rank 0,")[2].partition("Rank 1,")[0]
    assert text.count("No rank has made progress for") == 2  # once as a report, once as the error
    assert "Rank 1 of 2 makes no progress" in text
    assert "What to do: See below where each rank waits." in text


def test_preparing_data_takes_its_time(ended: Ended) -> None:
    assert ended.of("patient") == [0, 0]
    text = "".join(ended.err("patient", rank) for rank in range(2))
    assert text.count("No rank has made progress for") == 1
    assert "waiting in prepare_data" in text
    assert "waiting in a barrier" in text


def test_marks_are_progress(ended: Ended) -> None:
    assert ended.of("progress") == [0, 0]
    assert [ended.err("progress", rank) for rank in range(2)] == ["", ""]


def test_a_signal_to_one_rank_stops_all_at_one_step(ended: Ended) -> None:
    assert ended.of("asked_to_stop") == [143, 143, 143]
    out = ended.out("asked_to_stop")
    assert out[0].startswith("stopped at ")
    assert out[0].endswith(": signal:15\n")
    assert out == [out[0]] * 3


def test_a_signal_beside_a_death_saves_nothing(ended: Ended) -> None:
    assert ended.of("asked_to_stop_beside_a_death") == [1, -9]
    assert "PeerFailed: Rank 1 of 2 is gone" in ended.err("asked_to_stop_beside_a_death", 0)
    assert ended.out("asked_to_stop_beside_a_death")[0] == ""


def test_a_signal_beside_a_death_ends_who_sits_in_a_collective(ended: Ended) -> None:
    assert ended.of("asked_to_end_beside_a_death") == [143, -9]
    assert "Rank 1 of 2 is gone" in ended.err("asked_to_end_beside_a_death", 0)


def test_a_process_that_is_busy_is_not_dead(ended: Ended) -> None:
    assert ended.of("busy") == [0, 0]


@pytest.mark.parametrize("name", ["one_is_through", "first_is_through", "forked"])
def test_who_leaves_in_order_is_not_missed(ended: Ended, name: str) -> None:
    assert ended.of(name) == [0, 0]
    assert "Rank" not in ended.err(name, 0) + ended.err(name, 1)


def test_what_is_asked_for_where_the_store_has_left(ended: Ended) -> None:
    """A rank that came to its end has passed everything, so nobody stops."""
    assert ended.of("alone") == [0, 1]
    assert ended.out("alone")[1] == "'' True\n"
    assert ended.err("alone", 1).endswith("ValueError: the mistake\non rank 1 of 2\n")


@pytest.mark.parametrize(
    ("name", "told"), [("under_torchrun", "the mistake"), ("under_torchrun_stalled", "Rank 1 of 2 makes no progress")]
)
def test_torchrun_hears_of_the_culprit_alone(ended: Ended, name: str, told: str) -> None:
    """Before the others do, which end at once, and by its whole seconds before any of them can have ended."""
    assert ended.of(name) == [1, 1]
    assert ended.out(name)[0] == "True\n"
    assert not (ended.folder / f"{name}.0.json").exists()
    file = ended.folder / f"{name}.1.json"
    report = json.loads(file.read_text())["message"]
    assert told in report["message"]
    assert int(report["extraInfo"]["timestamp"]) < file.stat().st_mtime - 0.9


def test_torchrun_hears_of_one_where_all_fail(ended: Ended) -> None:
    assert ended.of("all_under_torchrun") == [1, 1, 1]
    assert len(list(ended.folder.glob("all_under_torchrun.*.json"))) == 1


def test_a_second_run_in_the_same_processes(ended: Ended) -> None:
    assert ended.of("again") == [1, 1]
    assert ended.err("again", 0).endswith("ValueError: the second\n")


@pytest.mark.soak
def test_a_signal_beside_a_process_that_was_stopped(ended_late: Ended) -> None:
    assert ended_late.of("asked_to_stop_beside_a_stopped_one") == [1, -9]
    assert "Rank 1 of 2 does not answer" in ended_late.err("asked_to_stop_beside_a_stopped_one", 0)


@pytest.mark.soak
def test_a_process_that_never_lets_python_run_is_killed(ended_late: Ended) -> None:
    assert ended_late.of("busy_for_ever") == [1, -9]
    assert "Rank 1 does not answer: its process is stopped, or in code" in ended_late.err("busy_for_ever", 0)


@pytest.mark.soak
def test_the_host_of_the_store_is_stopped(ended_late: Ended) -> None:
    assert ended_late.of("store_stopped") == [-9, 1]
    assert "Rank 0 of 2 makes no progress" in ended_late.err("store_stopped", 1)
