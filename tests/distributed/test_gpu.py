"""What NCCL and a GPU can show: the same numbers, and the same ends, as on the CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from .fault_runs import Case, run_case
from .gpu_runs import CHECKS
from .test_faults import check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
ROOT = Path(__file__).parents[2]
FAULTS = [
    Case(kind, rank, place, launcher)
    for kind, rank, place, launcher in (
        ("exception", 1, "step", "script"),
        ("exception", 0, "validation", "torchrun"),
        ("kill", 1, "step", "script"),
        ("kill", 0, "validation", "torchrun"),
        ("os_exit", 1, "validation", "script"),
        ("sys_exit", 1, "step", "torchrun"),
        ("stall", 0, "step", "script"),
        ("stall", 1, "validation", "script"),
        ("stall", 1, "step", "torchrun"),
        ("stop", 1, "step", "script"),
        ("sigterm", 1, "step", "script"),
        ("sigterm", 0, "step", "torchrun"),
        ("memory", 1, "step", "script"),
        ("exception", 1, "save", "script"),
        ("exception", 1, "fit_start", "torchrun"),
        ("kill", 1, "teardown", "script"),
    )
]


@cache
def found(backend: str, folder: Path) -> list[dict[str, list[str]]]:
    """What is wrong on each of two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.gpu_runs", str(rank), backend, str(port), str(folder)],
            env=environment,
        )
        for rank in (0, 1)
    ]
    try:
        for process in started:
            assert process.wait(300) == 0
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{backend}-{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
@pytest.mark.parametrize("name", CHECKS)
def test_numbers(backend: str, name: str, folder: Path) -> None:
    """Those of DDP by hand bit for bit, and those of one process."""
    assert [of_rank[name] for of_rank in found(backend, folder)] == [[], []]


@pytest.mark.parametrize("case", FAULTS, ids=str)
def test_all_end_and_name_the_culprit(case: Case, tmp_path: Path) -> None:
    more: dict[str, Any] = {"FAULT_ON_GPU": "1", "NCCL_SOCKET_IFNAME": "lo"}
    check(case, run_case(case, tmp_path / "run", **more))
