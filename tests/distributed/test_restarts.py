"""torchrun starts all processes again when one has failed, and the run goes on from its last checkpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .test_two_hosts import SCRIPT, told, weights

pytestmark = pytest.mark.soak


def run(folder: Path, *launcher: str, fault: str = "none 0 0") -> str:
    """What a run printed, which has to end well."""
    variables = told(folder, HOSTS_COUNT="1", HOSTS_BATCHES="8", HOSTS_FAULT=fault)
    command = [sys.executable, *launcher, str(SCRIPT)]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--max_restarts=3")
# The first holds its store over all starts and knows none of them, the second has one that agents share, too.
MEETINGS = {
    "master": lambda: (f"--master_port={port()}",),
    "rendezvous": lambda: ("--nnodes=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{port()}", "--rdzv_id=7"),
}


def test_runs_that_failed_twice(tmp_path: Path) -> None:
    """What the processes of an earlier start have left in torchrun's store is nobody's business in the next."""
    run(tmp_path / "undisturbed")
    for meeting, fault in (("master", "raise 1 2"), ("rendezvous", "kill 0 2")):
        printed = run(tmp_path / meeting, *TORCHRUN, *MEETINGS[meeting](), fault=fault)
        assert printed.count("The newest checkpoint is") == 2
        assert weights(tmp_path / meeting) == weights(tmp_path / "undisturbed")
