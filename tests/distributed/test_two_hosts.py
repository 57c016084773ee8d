"""Two hosts: a group forms across them, and goes on after one has been killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from .fault_runs import code_of, forked
from .hosts import Host, two_hosts, why_not

SCRIPT = Path(__file__).with_name("host_script.py")
SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 240.0


@pytest.fixture(scope="module", autouse=True)
def _hosts_are_allowed() -> None:
    reason = why_not()
    if reason:
        assert not os.environ.get("CI"), f"CI has to run this: {reason}"
        pytest.skip(reason)


def told(folder: Path, **more: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    return {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "HOSTS_FOLDER": str(folder), **more}


def agent(host: Host, meeting: Host, folder: Path, number: int, **more: str) -> subprocess.Popen[bytes]:
    """torchrun on one host."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--max_restarts=3",
        "--rdzv_backend=c10d", f"--rdzv_endpoint={meeting.address}:29400", "--rdzv_id=run",
        f"--local_addr={host.address}",
        f"--rdzv_conf=is_host={int(host is meeting)},join_timeout=120,keep_alive_interval=1", str(SCRIPT),
    ]  # fmt: skip
    # torch 2.13 keeps the address of its store over restarts and does not tell it to an agent that is new.
    return started(host, command, folder, number, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1", **more)


def started(host: Host, command: list[str], folder: Path, number: int, **more: str) -> subprocess.Popen[bytes]:
    environment = told(folder, **more)
    with open(folder / f"output-{number}", "ab") as output:
        return host.start(command, environment, stdout=output, stderr=output, cwd=folder)


def wait(folder: Path, *processes: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT
    for process in processes:
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = -1
        assert code == 0, output(folder)


def output(folder: Path) -> str:
    return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')}" for path in sorted(folder.glob("output-*")))


def weights(folder: Path) -> Any:
    first, second = (torch.load(folder / f"weights-{rank}.pt") for rank in (0, 1))
    assert first == second
    return first


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        try:
            if min(int((folder / f"step-{rank}").read_text()) for rank in (0, 1)) >= step:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(output(folder))


def test_a_group_forms_across_hosts(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with two_hosts() as hosts:
        pids = []
        for number, host in enumerate(hosts):
            variables = told(
                folder, MASTER_ADDR=hosts[0].address, MASTER_PORT="29500", HOSTS_BATCHES="3", NODE_RANK=str(number),
                GLOO_SOCKET_IFNAME=host.device,
            )  # fmt: skip
            with open(folder / f"output-{number}", "wb") as output_file:
                pids.append(forked(SCRIPT, variables, output_file.fileno(), folder, network=host.name))
        assert [code_of(pid) for pid in pids] == [0, 0], output(folder)
    weights(folder)
    assert "rank 1 of 2 ends after 6 steps" in output(folder)


@pytest.mark.soak
def test_the_script_launcher_on_two_hosts(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with two_hosts() as hosts:
        variables = {"MASTER_ADDR": hosts[0].address, "MASTER_PORT": "29500", "HOSTS_BATCHES": "3"}
        runs = [
            started(host, [sys.executable, str(SCRIPT)], folder, number, NODE_RANK=str(number), **variables)
            for number, host in enumerate(hosts)
        ]
        wait(folder, *runs)
    weights(folder)
    assert "rank 1 of 2 ends after 6 steps" in output(folder)


@pytest.mark.soak
@pytest.mark.parametrize("killed", [0, 1])
def test_a_host_is_killed_and_started_again(tmp_path: Path, killed: int) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    with two_hosts() as hosts:
        meeting = hosts[1 - killed]
        wait(undisturbed, *(agent(host, meeting, undisturbed, number) for number, host in enumerate(hosts)))
    with two_hosts() as hosts:
        meeting = hosts[1 - killed]
        runs = [agent(host, meeting, disturbed, number, HOSTS_PAUSE="0.1") for number, host in enumerate(hosts)]
        wait_for_step(disturbed, 17)
        kill_all_of(hosts[killed])
        runs[killed].wait()
        runs[killed] = agent(hosts[killed], meeting, disturbed, killed)
        wait(disturbed, *runs)
    assert weights(disturbed) == weights(undisturbed)
    assert "The newest checkpoint is" in output(disturbed)


def kill_all_of(host: Host) -> None:
    """As if the power had failed: the agent and its worker."""
    for pid in subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True).stdout.split():
        os.kill(int(pid), signal.SIGKILL)
