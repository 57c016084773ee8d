"""Whether a process on this host is still there."""

from __future__ import annotations

import os
import platform
import signal
from dataclasses import asdict, dataclass
from typing import Any

_STATE, _START, _EXIT_CODE = 0, 19, 49  # places in /proc/<pid>/stat, counted behind the name


@dataclass(frozen=True)
class Identity:
    """Which process a rank is.

    Attributes:
        host: What is the same for two processes only if each sees the other by its number: the host's name, its boot,
            and the name space of processes, which differs between containers.
        pid: The process's number there.
        start: When it started, in the kernel's own count; a number that was given again has another start. 0 where
            that is not known.
        owns_store: Whether the store lives in it.
    """

    host: str
    pid: int
    start: int
    owns_store: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the store."""
        return asdict(self)


def this_process(owns_store: bool = False) -> Identity:
    """The identity of the process that asks.

    Args:
        owns_store: Whether the store lives in it.
    """
    stat = _stat(os.getpid())
    return Identity(_host(), os.getpid(), int(stat[_START]) if stat else 0, owns_store)


def how_it_ended(other: Identity) -> tuple[str, str] | None:
    """How a process on this host has ended.

    Args:
        other: A process whose `host` is that of this process.

    Returns:
        None while it lives; else the kind of fault, and what is known.
    """
    stat = _stat(other.pid)
    if stat is None:
        return None if not other.start and _answers(other.pid) else ("killed", f"Process {other.pid} is gone.")
    if stat[_STATE] in ("Z", "X", "x"):
        return _from_status(other.pid, int(stat[_EXIT_CODE]) if len(stat) > _EXIT_CODE else 0)
    if other.start and int(stat[_START]) != other.start:
        return "killed", f"Process {other.pid} is gone, and its number belongs to another one."
    return None


def kill(other: Identity) -> None:
    """Kills a process on this host, unless it is gone.

    Args:
        other: A process whose `host` is that of this process.
    """
    if other.pid != os.getpid() and how_it_ended(other) is None:
        try:
            os.kill(other.pid, signal.SIGKILL)
        except OSError:
            pass  # it is gone by now, or not ours


def _from_status(pid: int, status: int) -> tuple[str, str]:
    number = status & 0x7F
    if number:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return "killed", f"Process {pid} was killed by {name}."
    if status >> 8:
        return "exit", f"Process {pid} has ended with the exit code {status >> 8}."
    return "left", f"Process {pid} has ended with the exit code 0."


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()  # the name may hold blanks and brackets
    except OSError:
        return None


def _host() -> str:
    parts = [platform.node()]
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass  # another system, where the name has to do
    return " ".join(parts)


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it belongs to somebody else, so it is there
    return True
