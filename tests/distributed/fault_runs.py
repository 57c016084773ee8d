"""Runs of `fault_script.py`: what was printed, how it ended, and what is left of it."""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import re
import runpy
import signal
import subprocess
import sys
import time
import traceback
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from fulmen.utilities.seal import check_seal

SCRIPT = Path(__file__).with_name("fault_script.py")
SOURCE = Path(__file__).parents[2] / "src"
STRATEGIES = {"script": "ddp", "torchrun": "ddp", "spawn": "ddp_spawn", "fork": "ddp_fork"}
START, HANG, SOON = 200.0, 60.0, 10.0
REPORT, TIMEOUT = 5.0, 15.0
STALLS = ("stall", "stop", "finally", "mismatch")


class Case(NamedTuple):
    """A fault.

    Attributes:
        kind: What goes wrong.
        rank: On which rank.
        place: Where.
        launcher: Who starts the processes.
    """

    kind: str
    rank: int
    place: str
    launcher: str

    def __str__(self) -> str:
        return "-".join(map(str, self))


@dataclass
class Ended:
    """A run that is over.

    Attributes:
        code: The exit code of the process that was started; None if it had to be killed.
        output: All that all its processes have printed, in order.
        seconds: How long after the fault it was over; None if it never came to its fault.
        left: The processes that are still there.
        saved: The checkpoints in its folder.
        damaged: Those of them that cannot be read.
    """

    code: int | None
    output: str
    seconds: float | None
    left: list[int]
    saved: list[str]
    damaged: list[str]

    @property
    def last(self) -> str:
        """What a user sees last: the error's text, or torchrun's report of the first failure."""
        report = self.output.rfind("Root Cause")
        if report >= 0:
            return self.output[report:]
        return "\n".join(self.output.rstrip().splitlines()[-25:])

    @property
    def named(self) -> int | None:
        """The rank that was named last."""
        if "Root Cause" in self.last:
            found = re.findall(r"^ *rank +: (\d+)", self.last, re.MULTILINE)
            return int(found[0]) if found else None
        found = re.findall(r"\brank (\d+)", self.last, re.IGNORECASE)
        return int(found[-1]) if found else None


def run_case(case: Case, folder: Path, **more: str) -> Ended:
    """Runs a case.

    Args:
        case: The case.
        folder: An empty folder.
        **more: More environment variables.
    """
    folder.mkdir(exist_ok=True)
    mark = uuid.uuid4().hex
    told = {
        "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "FAULT_FOLDER": str(folder), "FAULT_MARK": mark,
        "FAULT_KIND": case.kind, "FAULT_RANK": str(case.rank), "FAULT_PLACE": case.place,
        "FAULT_STRATEGY": STRATEGIES[case.launcher], **more,
    }  # fmt: skip
    if case.kind in STALLS:
        told |= {"FULMEN_STALL_REPORT": f"{REPORT:g}", "FULMEN_STALL_TIMEOUT": f"{TIMEOUT:g}"}
    command = [sys.executable, str(SCRIPT)]
    if case.launcher == "torchrun":
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    with open(folder / "output", "wb") as output:
        started = None
        if case.launcher != "fork":
            started = subprocess.Popen(
                command, env={**os.environ, **told}, stdout=output, stderr=output, cwd=folder, start_new_session=True
            )
        pid = forked(SCRIPT, told, output.fileno(), folder) if started is None else started.pid
        code = code_of(pid, fault := folder / "fault")
        if started is not None:
            started.returncode = code
    began = float(fault.read_text()) if fault.exists() else None
    until = (began or 0.0) + SOON + (TIMEOUT + SOON if case.kind in STALLS else 0.0)
    while (left := _processes(mark, pid)) and time.time() < until:
        time.sleep(0.05)
    over = time.time()
    for one in left:
        os.kill(one, signal.SIGKILL)
    saved = sorted(path for path in folder.glob("saved/*") if path.suffix == ".ckpt")
    return Ended(
        code,
        (folder / "output").read_text(errors="replace"),
        None if began is None else over - began,
        left,
        [path.name for path in saved],
        [f"{path.name}: {error}" for path in saved if (error := _error_in(path))],
    )


def forked(script: Path, told: dict[str, str], output: int, folder: Path, network: str = "") -> int:
    """Runs a script in a fork of this process, which need not import torch again.

    Args:
        script: The script.
        told: More environment variables.
        output: The file for what it prints.
        folder: Its folder.
        network: The network namespace to run in.
    """
    importlib.import_module("torch._dynamo.convert_frame")  # DDP does; here, it is done once
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
        if network:
            with open(f"/run/netns/{network}") as space:
                assert ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0) == 0
        os.environ.update(told)
        os.chdir(folder)
        sys.argv = [str(script)]
        warnings.simplefilter("default")
        try:
            runpy.run_path(str(script), run_name="__main__")
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def code_of(pid: int, fault: Path | None = None) -> int | None:
    """The exit code of a child; None if it had to be killed.

    Args:
        pid: The child.
        fault: The file that says when the fault was; before, a slow machine has its time.
    """
    began = time.time()
    while time.time() < began + (HANG if fault is not None and fault.exists() else START + HANG):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if fault is not None and fault.exists() and fault.stat().st_size:
            began = max(began, fault.stat().st_mtime)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _processes(mark: str, session: int) -> list[int]:
    """The processes, of any parent, in whose environment a word stands, or that are of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if stat[0] != "Z" and (int(stat[3]) == session or mark.encode() in (entry / "environ").read_bytes()):
                found.append(int(entry.name))
        except OSError:  # it is gone
            pass
    return found


def _error_in(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            check_seal(file)
        torch.load(path, weights_only=True)
    except Exception as error:
        return repr(error)
    return ""
