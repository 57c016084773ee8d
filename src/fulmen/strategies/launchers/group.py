"""The processes of a run, seen from the one that started them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from fulmen.strategies.launchers.report import Report

# Seconds: how long the others have to end by themselves when one has failed, and how long when they are told to; how
# long they may take to end after their work; how long after Ctrl-C those are told who may not have got it.
_BY_THEMSELVES, _TOLD, _FINISHING, _INTERRUPT = 4.0, 2.0, 60.0, 2.0
_EVERY = 0.25


class Group:
    """Waits for processes, and ends all when one fails.

    Args:
        processes: The processes, in the order of their ranks.
        connections: Where each reports.
        first_rank: The rank of the first.

    Attributes:
        reports: What became of each that has ended or reported.
        asked: The signal that this process got meanwhile, if any.
    """

    def __init__(self, processes: list[BaseProcess], connections: list[Connection], first_rank: int) -> None:
        self.processes = processes
        self.connections = connections
        self.first_rank = first_rank
        self.reports: dict[int, Report] = {}
        self.asked: int | None = None
        self._told: set[int] = set()
        self._steps: list[tuple[float, int]] = []  # signals that are due, each at its time
        self._earlier: dict[int, Any] = {}
        self._owner = os.getpid()

    def join(self) -> None:
        """Waits until all have ended, by themselves or not."""
        try:
            if self.asked == signal.SIGTERM:  # while they were started
                self.kill(signal.SIGTERM, again=False)
            while running := self.running():
                self._hear(running)
                self._plan()
                self._act()
        finally:
            self.unlisten()
            self.end(0.0)

    def running(self) -> list[int]:
        """The numbers of those that have not ended."""
        return [index for index, process in enumerate(self.processes) if process.is_alive()]

    def kill(self, signum: int, again: bool = True) -> None:
        """Sends a signal to all that run; or to those that have got none from here."""
        for index in self.running():
            pid = self.processes[index].pid
            if pid is not None and (again or index not in self._told):
                self._told.add(index)
                os.kill(pid, signum)  # it is our child and not waited for yet, so the number is still its own

    def end(self, grace: float) -> None:
        """Ends all and waits until they have.

        Args:
            grace: How many seconds they have after SIGTERM.
        """
        if grace and self.running():
            self.kill(signal.SIGTERM)
            wait([self.processes[index].sentinel for index in self.running()], grace)
        self.kill(signal.SIGKILL)
        for process in self.processes:
            process.join()
        self._take_stock()

    def _hear(self, running: list[int]) -> None:
        """Waits for a report, an end, or the next step."""
        open_ones = [self.connections[index] for index in running if index not in self.reports]
        seconds = max(0.0, self._steps[0][0] - time.monotonic()) if self._steps else _EVERY
        wait([*open_ones, *(self.processes[index].sentinel for index in running)], min(seconds, _EVERY))
        self._take_stock()

    def _take_stock(self) -> None:
        for index, (process, connection) in enumerate(zip(self.processes, self.connections)):
            ended = not process.is_alive()
            if index not in self.reports and connection.poll():
                try:
                    self.reports[index] = connection.recv()
                except (EOFError, OSError):
                    process.join(0.0)
                    ended = not process.is_alive()
            if ended and index not in self.reports:
                code = process.exitcode or 0
                told = index in self._told and code in (-signal.SIGTERM, -signal.SIGKILL)
                self.reports[index] = Report(self.first_rank + index, process.pid or 0, "gone", "", code, told)

    def _plan(self) -> None:
        """When one has failed, or all are done, the rest gets its time."""
        if self._steps:
            return
        now = time.monotonic()
        if any(not report.is_calm and not report.followed for report in self.reports.values()):
            self._steps = [(now + _BY_THEMSELVES, signal.SIGTERM), (now + _BY_THEMSELVES + _TOLD, signal.SIGKILL)]
        elif len(self.reports) == len(self.processes):
            self._steps = [(now + _FINISHING, signal.SIGTERM), (now + _FINISHING + _TOLD, signal.SIGKILL)]

    def _act(self) -> None:
        while self._steps and self._steps[0][0] <= time.monotonic():
            self.kill(self._steps.pop(0)[1])

    # Signals that come to this process.

    def listen(self) -> None:
        """From now on a signal ends the processes; to be called before the first is started."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            earlier = signal.getsignal(number)
            if earlier not in (None, signal.SIG_IGN):
                self._earlier[number] = earlier
                signal.signal(number, self._note)

    def unlisten(self) -> None:
        """Signals do what they did before; also in a fork of this process, which ends by them as others do."""
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a fork of this process
            signal.signal(number, self._earlier[number])
            signal.raise_signal(number)
            return
        if self.asked is not None:
            self.kill(signal.SIGKILL)
            return
        self.asked = number
        self._steps = []
        if number == signal.SIGTERM:
            self.kill(signal.SIGTERM)
        else:  # all processes at a terminal get Ctrl-C, but not those of a notebook
            self._steps = [(time.monotonic() + _INTERRUPT, signal.SIGTERM)]
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        print(f"{name}: the processes of the run are told to end. A second one ends them at once.", file=sys.stderr)
