"""Processes find each other, and nobody waits in silence for one that does not come."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from typing import Any

import pytest

from fulmen.strategies import meeting, process_group
from fulmen.strategies.meeting import Meeting
from fulmen.utilities.exceptions import MisconfiguredRun

SHORT, LONG = timedelta(seconds=0.3), timedelta(seconds=30)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(meeting, "_SEEN", 0.3)


def come(port: int, *sizes: int, timeout: timedelta = LONG) -> list[Any]:
    """What each rank gets, a thread a rank, where each has its own idea of how many there are."""
    got: list[Any] = [None] * len(sizes)
    stores = []

    def one(rank: int) -> None:
        try:
            own = Meeting("127.0.0.1", port, rank, sizes[rank], 0.1)
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
