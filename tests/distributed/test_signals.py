"""Real processes and real signals: all ranks of a healthy group stop at the same step, and what they saved goes on."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SOAK

from .groups import _free_port, run
from .signalled import in_group

soak = pytest.mark.skipif(not SOAK, reason="soak")


def start(world: int, **settings: Any) -> list[subprocess.Popen[str]]:
    port = str(_free_port())
    script = Path(__file__).with_name("signalled.py")
    settings = {"path": None, "world": world, "name": "run", **settings, "folder": str(settings["folder"])}
    processes = []
    for rank in range(world):
        environment = {
            **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "NODE_RANK": "0",
            "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "77", "PATH": f"{settings['folder']}:{os.environ['PATH']}",
        }  # fmt: skip
        environment.pop("PYTEST_CURRENT_TEST", None)
        command = [sys.executable, str(script), json.dumps(settings)]
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
    return processes


def ends(processes: list[subprocess.Popen[str]], seconds: float = 60) -> list[tuple[int, str]]:
    """How processes end; none is left."""
    deadline = time.monotonic() + seconds
    found = []
    try:
        for process in processes:
            text, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
            found.append((process.returncode, text))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return found


def told(folder: Path, world: int, name: str = "run") -> list[dict[str, Any]]:
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(world)]


def deals_evenly(world: int, batches: int) -> bool:
    """Whether all of so many processes have the same number of batches left of an epoch of 24 samples."""
    left = 24 - 4 * (batches % 6)
    return len({math.ceil(len(range(rank, left, world)) / 2) for rank in range(world)}) == 1


def check_goes_on(folder: Path, world: int, before: list[dict[str, Any]], forked: bool = False) -> None:
    """The file goes on with another number of processes, and each sample of the epochs comes once."""
    if not deals_evenly(world, before[0]["batches"]):
        return
    settings = {"folder": str(folder), "path": before[0]["files"][0], "name": f"on-{world}", "world": world}
    if forked:
        after = run(in_group, world, settings)
    else:
        finished = ends(start(**settings))
        assert [code for code, _ in finished] == [0] * world, finished
        after = told(folder, world, settings["name"])
    for epoch in range(2):
        seen = [one["samples"] for one in (*before, *after)]
        flat = [index for number, batch in itertools.chain.from_iterable(seen) if number == epoch for index in batch]
        assert Counter(flat) == Counter(range(24)), (epoch, sorted(flat))


@pytest.mark.parametrize(("rank", "where", "count"), [(1, "step", 7), pytest.param(0, "validation", 2, marks=soak)])
def test_all_stop_at_the_same_step(tmp_path: Path, rank: int, where: str, count: int) -> None:
    settings = {"folder": str(tmp_path), "path": None, "name": "run", "world": 2, "kill": (rank, where, count)}
    before = run(in_group, 2, settings)
    assert [one["code"] for one in before] == [143, 143]
    assert len({(one["batches"], one["steps"], one["phase"], one["weight"]) for one in before}) == 1
    assert len(before[0]["files"]) == 1 and 0 < before[0]["batches"] < 12
    check_goes_on(tmp_path, 1 if where == "step" else 3, before, forked=True)


@pytest.mark.parametrize(
    ("rank", "where", "count"),
    [
        (1, "step", 7),
        (0, "step", 2),
        (0, "validation", 2),
        (1, "validation", 1),
        (0, "between", 4),
        (1, "between", 6),
    ],
)
@soak
def test_sigterm_to_one_rank_stops_all(tmp_path: Path, rank: int, where: str, count: int) -> None:
    finished = ends(start(2, folder=tmp_path, kill=(rank, where, count)))
    assert [code for code, _ in finished] == [143, 143], finished
    before = told(tmp_path, 2)
    assert len({(one["batches"], one["steps"], one["phase"], one["weight"]) for one in before}) == 1
    assert len(before[0]["files"]) == 1 and 0 < before[0]["batches"] < 12
    for world in (1, 2, 3) if SOAK else (1,):
        check_goes_on(tmp_path, world, before)


@soak
def test_ctrl_c_reaches_all(tmp_path: Path) -> None:
    processes = start(2, folder=tmp_path, kill=(0, "step", 3), signal=signal.SIGINT)
    finished = ends(processes)
    assert [code for code, _ in finished] == [-signal.SIGINT] * 2, finished
    before = told(tmp_path, 2)
    assert len({(one["batches"], one["steps"]) for one in before}) == 1
    check_goes_on(tmp_path, 1, before)


@soak
def test_a_cluster_requeues_once(tmp_path: Path) -> None:
    queue = tmp_path / "scontrol"
    queue.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    queue.chmod(0o755)
    processes = start(2, folder=tmp_path, kill=(1, "step", 5), signal=int(signal.SIGUSR1), slurm=True)
    finished = ends(processes)
    assert [code for code, _ in finished] == [143, 143], finished
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    before = told(tmp_path, 2)
    assert len({one["batches"] for one in before}) == 1
    assert before[0]["files"] == [str(tmp_path / "hpc_ckpt_1.ckpt")]
    check_goes_on(tmp_path, 3, before)


@soak
def test_a_dead_group_saves_nothing(tmp_path: Path) -> None:
    finished = ends(start(2, folder=tmp_path, kill=(1, "step", 4), signal=signal.SIGKILL))
    assert finished[1][0] == -signal.SIGKILL and finished[0][0] not in (0, 143)
    assert not list(tmp_path.glob("*.ckpt"))
