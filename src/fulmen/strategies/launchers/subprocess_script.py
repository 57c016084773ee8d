"""Starts the program once more for each further process of this machine."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.started import PROCESSES, check_count
from fulmen.strategies.launchers.command import began_in, own_command
from fulmen.strategies.launchers.launcher import _Launcher
from fulmen.strategies.launchers.meeting import divide_threads, meeting
from fulmen.utilities import parent
from fulmen.utilities.exceptions import MisconfiguredRun

# Seconds: how often children are looked at; how long a run goes on whose child has died, where nobody attends to it;
# how long this process waits for the others when it ends, well or badly, and for those that were told to end.
_EVERY, _PATIENCE, _LINGER, _LINGER_FAILED, _END = 0.2, 6.0, 60.0, 5.0, 3.0
# Exit codes of a process that came to its end, or did so because a signal had asked for it.
_CALM = (0, 128 + signal.SIGTERM, -signal.SIGTERM, 128 + signal.SIGINT)


class _SubprocessScriptLauncher(_Launcher):
    """Starts the program again for each further process of this machine, and no process stays when this one ends.

    Each finds in ``LOCAL_RANK`` which one it is, and comes to the same Trainer, which starts nothing again. Where
    something else starts the processes, as ``torchrun`` does, it starts none.

    Args:
        cluster_environment: Where this process stands among others.
        num_processes: How many processes there are on each machine.
        num_nodes: How many machines there are.

    Attributes:
        procs: The processes that were started, from local rank 1 on.
        attended: Whether somebody else ends the run when a process dies. Where nobody does, the launcher does it.
        failed: Whether this process ends badly, so that it does not wait long for the others.
    """

    def __init__(self, cluster_environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> None:
        self.cluster_environment = cluster_environment
        self.num_processes = num_processes
        self.num_nodes = num_nodes
        self.procs: list[subprocess.Popen[bytes]] = []
        self.attended = False
        self.failed = False
        self._owner = 0
        self._over = False
        self._leaving = threading.Event()

    @property
    def is_interactive_compatible(self) -> bool:
        return False

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Starts the processes, unless they are there, and runs a function in this one; so do the others.

        Args:
            function: The function.
            *args: What it is called with.
            trainer: Who asks for it.
            **kwargs: What it is called with by name.

        Returns:
            What it returned.
        """
        self.start()
        try:
            return function(*args, **kwargs)
        except BaseException:
            self.failed = True
            raise

    def start(self) -> None:
        """Starts the processes, once in a program.

        Raises:
            MisconfiguredRun: If the program cannot be started again, the machines cannot find each other, or another
                number of processes has been started before.
        """
        if self.cluster_environment.creates_processes_externally:
            check_count(self.num_processes)
            return
        self._call_children_scripts()
        if self.procs:
            threading.Thread(target=self._watch, name="fulmen-launcher", daemon=True).start()

    def _call_children_scripts(self) -> None:
        """Starts the processes, with the variables by which all find each other. Libraries override it."""
        self._check_can_spawn_children()
        command = own_command() if self.num_processes > 1 else []
        variables = meeting(self.cluster_environment, self.num_processes, self.num_nodes)
        divide_threads(self.num_processes)
        os.environ.update(variables, LOCAL_RANK="0")
        os.environ[PROCESSES] = str(self.num_processes)
        self._owner = os.getpid()
        atexit.register(self._at_exit)
        for local_rank in range(1, self.num_processes):
            told = {"LOCAL_RANK": str(local_rank), parent.VARIABLE: str(self._owner)}
            self.procs.append(subprocess.Popen(command, env={**os.environ, **told}, cwd=began_in()))

    def _check_can_spawn_children(self) -> None:
        """Raises if this launcher has started its processes before."""
        if self.procs:
            raise MisconfiguredRun(
                "A launcher starts its processes once.",
                got=f"{len(self.procs)} that it has started",
                fix="Take away what says that they are there (`LOCAL_RANK` in the environment) only together with the "
                "launcher: make another strategy for another run.",
            )

    def dead(self) -> list[tuple[int, int]]:
        """The processes that have ended, each with its local rank and its exit code (a signal's number, negative)."""
        ended = [(local_rank, process.poll()) for local_rank, process in enumerate(self.procs, start=1)]
        return [(local_rank, code) for local_rank, code in ended if code is not None]

    def ended(self) -> dict[int, str]:
        """How processes have ended, by their local ranks."""
        return {local_rank: _how(local_rank, code) for local_rank, code in self.dead()}

    def kill(self, signum: int | signal.Signals) -> None:
        for process in self.procs:
            process.send_signal(signum)

    def end(self, grace: float = _END, *, patient: bool = False) -> None:
        """Has all processes that were started end, and waits until they have.

        Args:
            grace: How many seconds they have after they were told.
            patient: Whether they have as many before they are told, since they know already.
        """
        self._over = True
        self._wait(grace if patient else 0.0)
        self.kill(signal.SIGTERM)
        self._wait(grace)
        self.kill(signal.SIGKILL)
        for process in self.procs:
            process.wait()

    def _wait(self, seconds: float) -> None:
        """Waits until all have ended; less long when one has ended badly."""
        deadline = time.monotonic() + seconds
        while len(dead := self.dead()) < len(self.procs) and time.monotonic() < deadline:
            if any(code for _, code in dead):
                deadline = min(deadline, time.monotonic() + _LINGER_FAILED)
            time.sleep(0.02)

    def _watch(self) -> None:
        since: float | None = None
        while not self._leaving.wait(_EVERY):
            failed = [] if self.attended else [one for one in self.dead() if one[1]]
            if not failed:
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() > since + _PATIENCE:
                self._give_up(*failed[0])

    def _give_up(self, local_rank: int, code: int) -> None:
        """Ends the run: the main thread may sit where it waits for the process that is gone."""
        self._leaving.set()
        self.end(grace=1.0)
        _say(f"{_how(local_rank, code)}, and so the run ends. What it has printed stands above.")
        os._exit(1)

    def _at_exit(self) -> None:
        if os.getpid() != self._owner:  # a fork of this process
            return
        self._leaving.set()
        try:
            failed = self.failed or self._over or getattr(sys, "last_value", None) is not None
            self._wait(_LINGER_FAILED if failed else _LINGER)
            late = {one for one, _ in enumerate(self.procs, start=1)} - {one for one, _ in self.dead()}
            bad = [_how(local_rank, code) + "." for local_rank, code in self.dead() if code not in _CALM]
            if late and not failed:
                _say(f"Local rank {', '.join(map(str, late))} has not come to an end, and is ended.")
        finally:
            self.end()
        if bad and not failed:
            _say("\n".join(bad))
            os._exit(1)  # the program has not come to a good end, though this process has


def _how(local_rank: int, code: int) -> str:
    if code >= 0:
        return f"The process with local rank {local_rank} has ended with exit code {code}"
    return f"The process with local rank {local_rank} was ended by {signal.Signals(-code).name}"


def _say(text: str) -> None:
    try:
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody reads any more
        pass
