"""Processes that end between two runs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist

from fulmen.environments.lightning import LightningEnvironment, find_free_network_port
from fulmen.strategies import process_group
from fulmen.strategies.peers import liveness
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.liveness import this_process

SOME = timedelta(seconds=30)
BROKEN = RuntimeError("Connection closed by peer [127.0.0.1]:1")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Rank 1 is a process that has come to its end, and nobody has asked for its exit code."""
    process = subprocess.Popen(["true"])
    stat = liveness._stat(process.pid)
    ended = dataclasses.replace(this_process(), pid=process.pid, start=int(stat[liveness._START]) if stat else 0)
    store = dist.HashStore()
    monkeypatch.setattr(process_group, "_store", store)
    monkeypatch.setattr(process_group, "_runs", 1)
    monkeypatch.setattr(process_group, "_CLOSED", 0.0)
    monkeypatch.setattr(process_group, "members", {0: this_process(owns_store=True), 1: ended})
    yield store, process
    process.wait()


def _wait(process: subprocess.Popen[bytes]) -> None:
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays there for its parent


def test_a_broken_connection_says_who_has_ended_and_what_was_called(group: Any) -> None:
    _wait(group[1])
    told = str(process_group.explain(BROKEN, 0, "save_checkpoint"))
    assert told.startswith("Rank 1 of 2 has ended its program, and takes no part in this run.")
    assert "without `if trainer.is_global_zero`" in told.splitlines()[1]
    assert "Rank 0 is in `save_checkpoint`. On rank 1: Process" in told
    assert told.endswith("has ended with the exit code 0.")
    assert "dmesg" not in told


def test_another_error_is_left_alone(group: Any) -> None:
    _wait(group[1])
    assert process_group.explain(RuntimeError("shapes do not match"), 0, "save_checkpoint") is None


def test_nobody_is_named_while_all_live(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "members", {0: this_process(), 1: this_process()})
    assert process_group.explain(BROKEN, 0, "save_checkpoint") is None


@pytest.mark.parametrize("error", [None, ValueError("the mistake")])
def test_who_ends_says_so_to_a_run_that_others_begin(
    group: Any, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    process_group._say_that_it_ends(os.getpid(), 0)
    board = Board(process_group.store_of_run(), 1)
    board.start()
    fault = board.news()[0]["fault"]
    seen = board.notes("seen", [0])
    board.stop()
    assert (fault["rank"], fault["kind"]) == (0, "left" if error is None else "exception")
    assert seen == {0: 1}
    assert ("the mistake" in fault["text"]) == (error is not None)


def test_what_a_process_has_said_counts_where_its_parent_has_buried_it(group: Any) -> None:
    group[1].wait()
    process_group._say_that_it_ends(os.getpid(), 0)  # rank 0 speaks here as if it were the other one
    told = str(process_group.explain(BROKEN, 0, "save_checkpoint"))
    assert "has ended its program" in told


@pytest.mark.parametrize("case", ["fork", "failed", "no store", "not the owner"])
def test_it_is_silent_where_nobody_can_hear_it(group: Any, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, rank = os.getpid() + (case == "fork"), int(case == "not the owner")
    monkeypatch.setattr(process_group, "_given_up", case == "failed")
    if case == "no store":
        monkeypatch.setattr(process_group, "_store", None)
    process_group._say_that_it_ends(pid, rank)
    assert not group[0].check(["fulmen/2/log"])


def test_a_group_that_somebody_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made again at the same place; at another one, other processes meet."""
    one, other = find_free_network_port(), find_free_network_port()
    assert not dist.is_initialized(), "another test has left its group"
    groups = []
    for name, value in (("_store", None), ("_joined", 0), ("_place", None), ("_runs", 0)):
        monkeypatch.setattr(process_group, name, value)
    monkeypatch.setattr(process_group, "members", {})
    for variable in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(variable, raising=False)
    for port in (one, one, other):
        monkeypatch.setenv("MASTER_PORT", str(port))
        process_group.meet(LightningEnvironment(), 0, 1, SOME, 0.0)
        groups.append(process_group._store)
        process_group.join_group("gloo", 0, 1, SOME)
        process_group.store_of_run().set("news", "old")
        dist.destroy_process_group()
    assert groups[0] is groups[1] is not groups[2]
    assert process_group._runs == 1 and groups[2].check(["fulmen/1/news"])
    process_group.leave_group()
