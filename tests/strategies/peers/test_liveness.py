"""Processes on this host, alive and dead."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fulmen.strategies.peers import liveness
from fulmen.strategies.peers.liveness import Identity, how_it_ended, kill, this_process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def _identity(process: subprocess.Popen[bytes]) -> Identity:
    stat = liveness._stat(process.pid)
    return dataclasses.replace(this_process(), pid=process.pid, start=int(stat[liveness._START]) if stat else 0)


def _until_it_ends(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # leaves it for its parent, as one that nobody waits for


def test_a_process_is_itself() -> None:
    assert how_it_ended(this_process()) is None
    assert Identity(**this_process(owns_store=True).as_dict()).owns_store


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM")])
def test_one_that_was_killed(child: subprocess.Popen[bytes], number: int, name: str) -> None:
    identity = _identity(child)
    assert how_it_ended(identity) is None
    child.send_signal(number)
    _until_it_ends(child.pid)
    assert how_it_ended(identity) == ("killed", f"Process {child.pid} was killed by {name}.")
    child.wait()
    assert how_it_ended(identity) == ("killed", f"Process {child.pid} is gone.")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("code", "kind"), [(3, "exit"), (0, "left")])
def test_one_that_has_ended(code: int, kind: str) -> None:
    process = subprocess.Popen(["sh", "-c", f"exit {code}"])
    identity = _identity(process)
    _until_it_ends(process.pid)
    assert how_it_ended(identity) == (kind, f"Process {process.pid} has ended with the exit code {code}.")
    process.wait()


def test_a_number_that_was_given_again(child: subprocess.Popen[bytes]) -> None:
    earlier = dataclasses.replace(_identity(child), start=1)
    ended = how_it_ended(earlier)
    assert ended is not None
    assert "belongs to another one" in ended[1]
    kill(earlier)  # which must not hit the other one
    assert child.poll() is None


def test_it_kills_what_it_means(child: subprocess.Popen[bytes]) -> None:
    kill(_identity(child))
    assert child.wait() == -signal.SIGKILL


def test_it_never_kills_itself() -> None:
    kill(this_process())


def test_where_there_is_no_proc(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_stat", lambda pid: None)
    identity = dataclasses.replace(this_process(), pid=child.pid)
    assert identity.start == 0
    assert how_it_ended(identity) is None
    child.kill()
    child.wait()
    assert how_it_ended(identity) == ("killed", f"Process {child.pid} is gone.")
