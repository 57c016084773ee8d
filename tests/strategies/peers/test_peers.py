"""One rank's view, in this process: a thread plays another rank where one is needed."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch.distributed as dist

from fulmen.strategies.peers import watchdog
from fulmen.strategies.peers.faults import Fault, PeerFailed
from fulmen.strategies.peers.peers import Peers
from fulmen.strategies.peers.wire import NoAnswer, StoreLost, Wire
from fulmen.utilities.exceptions import SIGTERMException


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watchdog, "_USUAL", 0.004)
    monkeypatch.setattr(watchdog, "_SOON", 0.001)
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before, "a thread is left"
    assert signal.set_wakeup_fd(-1) == -1, "the wake-up descriptor is left"


@pytest.fixture
def pair() -> Iterator[tuple[Peers, Peers]]:
    store = dist.HashStore()
    first, second = (Peers(store, rank, 2, owns_store=rank == 0) for rank in range(2))
    second.start()
    first.start()
    yield first, second
    for one in (second, first):
        one.close()


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def test_a_gate_calls_nothing() -> None:
    peers = Peers(dist.HashStore(), 0, 2)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if "call" in event else None)
    try:
        answer = peers.gate((3, 0))
    finally:
        sys.setprofile(None)
    assert answer == ""
    assert peers.passed == (3, 0)
    assert calls.count("gate") == 1
    assert set(calls) <= {"gate", "test_a_gate_calls_nothing"}  # the latter calls `setprofile`


def test_a_fault_of_another_rank_is_raised_at_a_gate(pair: tuple[Peers, Peers]) -> None:
    first, second = pair
    error = ValueError("the mistake")
    assert second.fail(error) is error
    _until(lambda: first.frozen)
    assert first.culprit is not None
    with pytest.raises(PeerFailed, match="Mend the error of rank 1"):
        first.gate((1, 0))
    assert not first.healthy()
    assert not second.healthy()


def test_an_error_after_another_ranks_gives_way_to_it(pair: tuple[Peers, Peers]) -> None:
    first, second = pair
    second.fail(ValueError("the mistake"))
    error = KeyError("follows")
    failed = first.fail(error)
    assert isinstance(failed, PeerFailed)
    assert failed.fault.rank == 1
    assert failed.__cause__ is error
    assert isinstance(first.fail(RuntimeError("Connection closed by peer")), PeerFailed)
    stopped = KeyboardInterrupt()
    assert first.fail(stopped) is stopped


def test_a_broken_connection_names_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.strategies.peers.peers._WHO", 0.05)
    monkeypatch.setattr("fulmen.strategies.peers.peers._HEARD", 0.05)
    peers = Peers(dist.HashStore(), 0, 2)
    peers.start()
    failed = peers.fail(RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [10.0.0.1]:80"))
    peers.close()
    assert isinstance(failed, PeerFailed)
    assert (failed.fault.rank, failed.fault.kind) == (1, "lost")


def test_a_broken_connection_among_those_who_are_well_is_the_ranks_own_error(pair: tuple[Peers, Peers]) -> None:
    error = RuntimeError("Connection closed by peer")
    assert pair[0].fail(error) is error
    _until(lambda: pair[1].culprit is not None)
    assert pair[1].culprit is not None
    assert pair[1].culprit.rank == 0


def test_what_a_launcher_sees_is_told(pair: tuple[Peers, Peers]) -> None:
    first, second = pair
    first.blame(Fault(1, "exit", "It has ended with the exit code 7."))
    first.blame(Fault(1, "killed", "which comes too late"))
    _until(lambda: first.culprit is not None and second.culprit is not None)
    assert second.culprit == first.culprit == Fault(1, "exit", "It has ended with the exit code 7.")


def test_who_has_left_in_order_cannot_be_accused(pair: tuple[Peers, Peers]) -> None:
    """The news of its leaving may be older than who accuses it knew."""
    first, second = pair
    second.close()
    first.blame(Fault(1, "killed", "Process 1 is gone."))
    assert first.healthy()
    assert first.culprit is None


def test_an_orderly_stop_is_no_fault(pair: tuple[Peers, Peers]) -> None:
    stop = SIGTERMException()
    assert pair[0].fail(stop) is stop
    assert pair[0].healthy()


def test_healthy_asks_everybody(pair: tuple[Peers, Peers]) -> None:
    assert pair[0].healthy()
    assert pair[1].healthy()


def test_one_who_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.strategies.peers.peers.ANSWER", 0.05)
    peers = Peers(dist.HashStore(), 0, 2)
    peers.start()
    assert not peers.healthy()
    peers.close()


def test_what_is_closed_does_nothing(pair: tuple[Peers, Peers]) -> None:
    first, second = pair
    second.close()
    second.close()
    first.close()
    assert first.gate((1, 0), "stop") == ""
    error = ValueError("later")
    assert first.fail(error) is error
    first.blame(Fault(1, "killed", ""))
    assert first.culprit is None


def test_a_signal_is_heard_whoever_has_the_main_thread(pair: tuple[Peers, Peers]) -> None:
    """The handler of this test does nothing, so it is the thread that has made a wish of it."""
    first, second = pair
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        first.signals[signal.SIGUSR1] = "signal:10"
        signal.raise_signal(signal.SIGUSR1)
        _until(lambda: second.frozen)
    finally:
        signal.signal(signal.SIGUSR1, before)
    reasons: list[str] = []
    other = threading.Thread(target=lambda: reasons.append(second.gate((1, 0))))
    other.start()
    reasons.append(first.gate((1, 0)))
    other.join()
    assert reasons == ["signal:10"] * 2
    assert first.gate((2, 0)) == second.gate((2, 0)) == ""  # once is enough


def test_a_descriptor_of_somebody_else_stays() -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    try:
        peers = Peers(dist.HashStore(), 0, 1)
        peers.start()
        peers.close()
        assert signal.set_wakeup_fd(-1) == writer.fileno()
    finally:
        signal.set_wakeup_fd(-1)
        reader.close()
        writer.close()


def test_a_call_that_does_not_come_back_holds_up_nobody() -> None:
    wire = Wire(patience=0.02)
    wire.start()
    go_on = threading.Event()
    with pytest.raises(NoAnswer):
        wire.call(go_on.wait)
    with pytest.raises(NoAnswer):
        wire.call(lambda: 1)
    go_on.set()
    wire.patience = 30.0
    assert wire.call(lambda: 2) == 2
    with pytest.raises(StoreLost, match="gone"):
        wire.call(_gone)
    wire.stop()


def _gone() -> None:
    raise RuntimeError("the store is gone")


def test_a_mistake_in_the_thread_is_no_silence(pair: tuple[Peers, Peers], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("in the thread")

    monkeypatch.setattr(pair[0]._watchdog._rounds, "post", fail)
    with pytest.raises(PeerFailed, match="in the thread"):
        pair[0].gate((1, 0), "stop")
