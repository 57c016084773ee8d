"""Processes find each other, and nobody waits in silence for one that does not come."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch

from fulmen.environments.started import PROCESSES
from fulmen.strategies import meeting, process_group
from fulmen.strategies.meeting import Meeting
from fulmen.strategies.peers.liveness import this_process
from fulmen.utilities.exceptions import MisconfiguredRun

SHORT, LONG = timedelta(seconds=0.3), timedelta(seconds=30)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TORCHELASTIC_USE_AGENT_STORE", "LOCAL_RANK", PROCESSES):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(meeting, "_SEEN", 0.3)


def come(
    port: int,
    *sizes: int,
    timeout: timedelta = LONG,
    runs: tuple[str, ...] = ("",) * 3,
    stores: list[Any] | None = None,
    wait: Callable[[], None] = lambda: None,
) -> list[Any]:
    """What each rank gets, a thread a rank, where each has its own idea of how many there are, and of which job."""
    got: list[Any] = [None] * len(sizes)
    stores = [] if stores is None else stores

    def one(rank: int) -> None:
        try:
            wait()
            own = Meeting("127.0.0.1", port, rank, sizes[rank], 0.1, run=runs[rank])
            stores.append(store := own.store(timeout))
            got[rank] = own.wait_for_all(store, timeout)
        except Exception as error:
            got[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_all_know_which_process_each_rank_is(port: int) -> None:
    first, *others = come(port, 3, 3, 3)
    assert sorted(first) == [0, 1, 2] and others == [first, first]
    assert [first[rank].owns_store for rank in range(3)] == [True, False, False]


@pytest.fixture
def torchruns(port: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store of an agent of torchrun."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    return torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)


@pytest.mark.parametrize("seed", range(3))
def test_starts_of_torchrun_share_a_store_and_know_nothing_of_each_other(torchruns: Any, port: int, seed: int) -> None:
    """Also where processes of an earlier start had asked and were never answered, in any order of coming."""
    drawn = random.Random(seed)
    torchruns.set("fulmen/asks/1", "somebody who is gone")
    torchruns.set("fulmen/here/2", "nonsense")
    for _ in range(3):
        stores: list[Any] = []
        got = come(port, 3, 3, 3, stores=stores, wait=lambda: time.sleep(drawn.random() / 10))
        assert [sorted(one) for one in got] == [[0, 1, 2]] * 3
        assert not any(one[rank].owns_store for one in got for rank in one)
        assert not any(store.check(["left"]) for store in stores)
        stores[0].set("left", "news of a failure")
        assert all(store.get("left") == b"news of a failure" for store in stores)


def test_rank_zero_that_torchrun_has_not_started_yet(torchruns: Any, port: int, capfd: Any) -> None:
    late = Meeting("127.0.0.1", port, 1, 3, 0.1)
    with pytest.raises(MisconfiguredRun, match=r"rank 0 of 3 has not come within 0.3 seconds(.|\n)*were started"):
        late.store(SHORT)
    assert "rank 0 of 3 has not come: waited 0 seconds so far." in capfd.readouterr().err


def test_jobs_that_meet_at_one_port(port: int) -> None:
    """Neither trains with a process of the other."""
    first, second = come(port, 2, 2, runs=("7.0", "7.1"))
    for error, jobs in ((first, "job 7.0 on rank 0, job 7.1 on rank 1"), (second, "job 7.1 on rank 1, job 7.0 on")):
        assert isinstance(error, MisconfiguredRun)
        assert jobs in str(error) and "set `MASTER_PORT` to another port for one of them" in str(error)


def test_two_processes_of_one_rank(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Meeting("127.0.0.1", port, 0, 2, 0.0)
    store = first.store(LONG)
    here = {"size": 2, "run": "", "process": {**this_process().as_dict(), "pid": 1}}
    store.set("fulmen/here/1", json.dumps(here))
    second = Meeting("127.0.0.1", port, 1, 2, 0.0)
    with pytest.raises(
        MisconfiguredRun, match=r"rank 1: 1 on (.|\n)*Give each process its own rank(.|\n)*`MASTER_PORT`"
    ):
        second.wait_for_all(second.store(LONG), LONG)


def test_a_host_that_nobody_knows(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MisconfiguredRun, match=r"'nobody.invalid': (.|\n)*Set `MASTER_ADDR` to a name"):
        Meeting("nobody.invalid", 29500, 0, 2, 0.0).store(SHORT)
    assert "Rank 0 of 2 does not know the host 'nobody.invalid'" in capfd.readouterr().err


@pytest.mark.parametrize("started", [False, True])
def test_a_local_rank_that_is_left_over(port: int, monkeypatch: pytest.MonkeyPatch, started: bool) -> None:
    """It says that somebody else starts the others, unless this program has set it itself."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    if started:
        monkeypatch.setenv(PROCESSES, "2")
    (error,) = come(port, 2, timeout=SHORT)
    assert ("unset it if it is left over" in str(error)) != started


def test_different_counts_are_an_error_at_once_on_all(port: int) -> None:
    shown = ("2 processes on rank 0, 3 on rank 1", "3 processes on rank 1, 2 on rank 0")
    for error, counts in zip(come(port, 2, 3), shown, strict=True):
        assert isinstance(error, MisconfiguredRun)
        assert counts in str(error) and "same `WORLD_SIZE`" in str(error)


def test_who_does_not_come_is_named(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    (error,) = come(port, 3, timeout=SHORT)
    assert isinstance(error, MisconfiguredRun)
    assert "rank 1, 2 of 3 has not come within 0.3 seconds" in str(error)
    assert "See whether these processes were started" in str(error)
    assert "rank 1, 2 of 3 has not come: waited 0 seconds so far." in capfd.readouterr().err


def test_a_port_in_use_has_a_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MisconfiguredRun, match=r"port \d+, which is in use(.|\n)*Set `MASTER_PORT` to a free one"):
            Meeting("127.0.0.1", taken.getsockname()[1], 0, 2, 0.0).store(SHORT)


def test_rank_zero_that_is_not_there_is_said(
    port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_TRY", 0.2)
    with pytest.raises(MisconfiguredRun, match="whether rank 0 runs"):
        Meeting("127.0.0.1", port, 1, 2, 0.0).store(SHORT)
    assert f"has not found the process of rank 0 at 127.0.0.1:{port} yet" in capfd.readouterr().err


def test_a_group_that_has_failed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "_given_up", False)
    process_group.give_up()
    environment: Any = None
    with pytest.raises(MisconfiguredRun, match=r"no group any more(.|\n)*Let the error end the program"):
        process_group.meet(environment, 0, 2, SHORT, 0.0)


def test_one_that_has_ended_is_not_waited_for(port: int) -> None:
    """At once, unless it had come before."""
    waiting = Meeting("127.0.0.1", port, 0, 2, 0.0, lambda: {1: "The process with local rank 1 has ended"})
    store = waiting.store(LONG)
    with pytest.raises(MisconfiguredRun, match=r"local rank 1 has ended before it came(.|\n)*call `fit` in all"):
        waiting.wait_for_all(store, LONG)
    store.set("fulmen/here/1", store.get("fulmen/here/0"))
    assert sorted(waiting.wait_for_all(store, LONG)) == [0, 1]
