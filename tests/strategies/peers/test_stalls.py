"""Whose fault a stall is, and when it is asked for. No clock runs."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch.distributed as dist

from fulmen.strategies.peers import stall_watch, stalls
from fulmen.strategies.peers.peers import Peers
from fulmen.strategies.peers.stall_watch import StallWatch
from fulmen.utilities.tree import apply_to_collection


def _answer(**more: Any) -> dict[str, Any]:
    plain = {"age": 70.0, "passed": [3, 0], "where": "", "patient": False, "user": "a.py:1 in f", "stack": "", "in": ""}
    return {**plain, **more}


@pytest.mark.parametrize(
    ("answers", "culprit"),
    [
        ({0: _answer(where="a barrier"), 1: _answer()}, 1),
        ({0: _answer(**{"in": "/x/torch/distributed/distributed_c10d.py"}), 1: _answer()}, 1),
        ({0: _answer(**{"in": "/x/torch/autograd/graph.py"}), 1: _answer(), 2: _answer(where="a barrier")}, 1),
        ({0: _answer(), 1: None}, 1),
        ({0: _answer(passed=[4, 0]), 1: _answer(passed=[3, 2])}, 1),
        (  # a collective in a step, which the others do not call
            {0: _answer(**{"in": "/x/torch/autograd/graph.py"}), 1: _answer(where="all_gather", called=True)},
            1,
        ),
        (
            {
                0: _answer(**{"in": "/x/torch/autograd/graph.py"}),
                1: _answer(**{"in": "/x/torch/distributed/distributed_c10d.py"}, called=True),
            },
            1,
        ),
        ({0: _answer(where="all_gather", called=True), 1: _answer(where="a barrier", called=True)}, stalls.NOBODY),
        ({0: _answer(where="all_gather", called=True), 1: _answer(where="all_gather", called=True)}, 0),
        ({0: _answer(where="all_gather", called=True), 1: _answer(called=True)}, 1),
    ],
)
def test_the_culprit_is_who_holds_up_the_others(answers: dict[int, Any], culprit: int) -> None:
    fault = stalls.fault_of(answers)
    assert (fault.rank, fault.kind) == (culprit, "stalled")


def test_a_report_has_a_line_for_each_rank() -> None:
    text = stalls.tell({0: _answer(where="the barrier 'x'"), 1: None, 2: _answer(age=65.0, passed=[])})
    assert text.startswith("No rank has made progress for 65 seconds.")
    assert "Rank 0, 70 s after it had passed (3, 0), waiting in the barrier 'x': a.py:1 in f" in text
    assert "Rank 1 does not answer" in text
    assert "Rank 2, 65 s after it had passed no gate: a.py:1 in f" in text


def test_a_report_of_ranks_that_wait_in_different_places() -> None:
    text = stalls.tell({0: _answer(where="all_gather"), 1: _answer(where="a barrier")})
    assert text.splitlines()[1] == "The ranks wait for each other in different places:"


def test_a_location_says_whether_fulmen_has_called_it() -> None:
    def step() -> None:
        found.append(stalls.location(threading.get_ident())["called"])

    found: list[bool] = []
    step()
    apply_to_collection(1, int, lambda _: step())
    assert found == [False, True]


def test_the_location_is_the_users_line() -> None:
    def work() -> None:
        begun.set()
        done.wait()  # here

    begun, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    where = stalls.location(thread.ident or 0)
    done.set()
    thread.join()
    assert where["user"].startswith(f"{__file__}:")
    assert where["user"].endswith("in work: done.wait()  # here") or "begun.set()" in where["user"]
    assert "in work" in where["stack"]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stall_watch, "time", clock)
    return clock


def _watch(rank: int = 0, report_after: float = 60.0, end_after: float = 300.0) -> tuple[Peers, StallWatch]:
    peers = Peers(dist.HashStore(), rank, 2, report_after=report_after, end_after=end_after)
    watch = StallWatch(peers)
    watch.look()
    return peers, watch


def test_it_is_reported_once_and_ended_then(clock: Clock) -> None:
    _, watch = _watch()
    clock.now += 59
    assert not watch.is_due
    clock.now += 1
    assert watch.is_due
    assert watch.judge({0: _answer(age=60.0), 1: _answer(age=61.0)}) == "report"
    watch.is_told(watch.again)
    clock.now += 239
    assert not watch.is_due
    clock.now += 1
    assert watch.is_due
    assert watch.judge({0: _answer(age=300.0), 1: None}) == "end"


def test_one_that_gets_on_is_waited_for(clock: Clock) -> None:
    _, watch = _watch()
    clock.now += 100
    assert watch.judge({0: _answer(age=100.0), 1: _answer(age=10.0)}) == ""
    assert not watch.is_due
    clock.now += 50
    assert watch.is_due


def test_patience_is_reported_and_never_ended(clock: Clock) -> None:
    _, watch = _watch()
    clock.now += 1000
    answers = {0: _answer(age=1000.0, patient=True), 1: _answer(age=1000.0)}
    assert watch.judge(answers) == "report"
    watch.is_told(watch.again)
    assert watch.judge(answers) == ""


@pytest.mark.parametrize("progress", ["gate", "mark", "waiting"])
def test_progress_begins_anew(clock: Clock, progress: str) -> None:
    peers, watch = _watch()
    clock.now += 100
    watch.is_told(200.0)
    if progress == "gate":
        peers.gate((1, 0))
    elif progress == "mark":
        peers.mark()
    else:
        with peers.waiting("a barrier"):
            pass
    watch.look()
    assert (watch.age, watch.told) == (0.0, False)
    clock.now += 60
    assert watch.is_due


def test_the_ranks_do_not_all_ask(clock: Clock) -> None:
    _, first = _watch()
    _, second = _watch(rank=1)
    clock.now += 60
    assert first.is_due
    assert not second.is_due
    second.another_asks()
    clock.now += 6
    assert not second.is_due


@pytest.mark.parametrize(("report_after", "end_after"), [(0.0, 0.0), (0.0, 300.0), (60.0, 0.0)])
def test_either_can_be_switched_off(clock: Clock, report_after: float, end_after: float) -> None:
    _, watch = _watch(report_after=report_after, end_after=end_after)
    clock.now += 10_000
    assert watch.is_due == (report_after > 0 or end_after > 0)
    verdict = watch.judge({0: _answer(age=10_000.0), 1: _answer(age=10_000.0)})
    assert verdict == ("end" if end_after else "report" if report_after else "")
    assert watch.again == math.inf


def test_waits_lie_in_each_other() -> None:
    peers, _ = _watch()
    with peers.waiting("outer", patient=True):
        with peers.waiting("inner"):
            assert (peers.where, peers.patient) == ("inner", 1)
        assert peers.where == "outer"
    assert (peers.where, peers.patient) == ("", 0)


def test_who_is_about_to_handle_an_error_is_the_culprit_and_comes_last() -> None:
    waits = {"age": 9.0, "passed": [3, 0], "where": "a barrier", "patient": False, "user": "", "stack": "", "in": ""}
    failed = {**waits, "handling": "ValueError: the cause"}
    fault = stalls.fault_of({0: failed, 1: waits})
    assert fault.rank == 0
    assert fault.text.endswith("Rank 0 is there because of an error:\nValueError: the cause")


def test_the_error_that_a_thread_handles_is_seen() -> None:
    try:
        raise ValueError("the cause")
    except ValueError:
        assert stalls.location(threading.get_ident())["handling"].endswith("ValueError: the cause\n")
    assert stalls.location(threading.get_ident())["handling"] == ""
