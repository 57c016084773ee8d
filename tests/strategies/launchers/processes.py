"""What the tests of launchers share: programs, and whether processes are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Fresh programs: no ranks, and a number of threads, so that the launcher does not import torch to set one.
CLEAN = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
HEAD = """
import os, signal, sys, time
import fulmen
from fulmen.environments.lightning import LightningEnvironment
from fulmen.strategies.launchers import subprocess_script
from fulmen.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

subprocess_script._PATIENCE = 0.3
launcher = _SubprocessScriptLauncher(LightningEnvironment(), {count}, 1)
launcher.start()
rank = int(os.environ["LOCAL_RANK"])
with open(f"pid{{rank}}", "w") as file:
    file.write(str(os.getpid()))
while not all(os.path.exists(f"pid{{one}}") for one in range({count})):
    time.sleep(0.01)
"""


def environment() -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in CLEAN}, "OMP_NUM_THREADS": "1"}


def program(body: str, count: int = 2, name: str = "program.py") -> str:
    """Writes a program whose processes have been started and know their ``rank``; gives its name."""
    Path(name).write_text(HEAD.format(count=count) + textwrap.dedent(body), encoding="utf-8")
    return name


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, env=environment(), **options
    )


def start(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words], stdout=pipe, stderr=pipe, text=True, env=environment())


def pids(count: int) -> list[int]:
    """The processes of a program, once all have written theirs."""
    paths = [Path(f"pid{rank}") for rank in range(count)]
    until(lambda: all(path.exists() and path.read_text() for path in paths))
    return [int(path.read_text()) for path in paths]


def until(true: Any, seconds: float = 60.0) -> None:
    """Waits for something; after so long it fails."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; nobody may be there to take note of it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in ("Z", "X")


def gone(processes: Iterable[int]) -> None:
    """Waits until processes have ended."""
    until(lambda: all(map(is_gone, processes)))
