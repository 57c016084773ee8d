"""Runs a function in new processes, and brings back what it returns."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from fulmen.strategies.launchers.group import Group
from fulmen.strategies.launchers.launcher import _Launcher
from fulmen.strategies.launchers.main_guard import Bootstrap, check_main_guard
from fulmen.strategies.launchers.meeting import meeting
from fulmen.strategies.launchers.parcel import Job, receive, send
from fulmen.strategies.launchers.process_state import ProcessState
from fulmen.strategies.launchers.report import Report, culprit
from fulmen.strategies.launchers.worker import Place, work
from fulmen.strategies.peers.faults import Fault
from fulmen.utilities.exceptions import MisconfiguredRun, MisconfiguredValue, SIGTERMException

_FIX = (
    "Make it in `setup` instead of `__init__`, use a function of a module instead of a lambda or a function within "
    'another, or pass `strategy="ddp"`, which sends nothing.'
)


class _MultiProcessingLauncher(_Launcher):
    """Runs a function in new processes of this machine while this one waits.

    What the first of them gives back, such as weights, comes to this process through a file. When one fails, all end,
    and the error names the first that did.

    Args:
        strategy: Says how many processes there are, and where they meet.
        start_method: ``"spawn"``, ``"fork"`` or ``"forkserver"``; see :mod:`multiprocessing`.

    Attributes:
        procs: The processes that run at present.

    Raises:
        MisconfiguredValue: If this system does not have the start method.
    """

    def __init__(self, strategy: Any, start_method: Literal["spawn", "fork", "forkserver"] = "spawn") -> None:
        methods = multiprocessing.get_all_start_methods()
        if start_method not in methods:
            raise MisconfiguredValue(
                "`start_method` is one that this system has.",
                got=start_method,
                fix=f"Choose among: {', '.join(repr(method) for method in methods)}.",
            )
        self._strategy = strategy
        self._start_method = start_method
        self._group: Group | None = None

    @property
    def is_interactive_compatible(self) -> bool:
        return self._start_method == "fork"

    @property
    def procs(self) -> list[BaseProcess]:
        """The processes that run at present."""
        return [] if self._group is None else self._group.processes

    def launch(
        self,
        function: Callable[..., Any],
        *args: Any,
        trainer: Any = None,
        collect: Callable[[], Any] | None = None,
        restore: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Runs a function in new processes and waits for all of them.

        Args:
            function: The function.
            *args: What it is called with.
            trainer: Who asks for it.
            collect: Called in the first process after the function; what it returns comes to this process.
            restore: Called in this process with that.
            **kwargs: What the function is called with by name.

        Returns:
            What the function returned in the first process of this machine.

        Raises:
            MisconfigurationException: If processes cannot be started like this, or a part of what goes to them or
                comes from them cannot be pickled.
            torch.multiprocessing.ProcessRaisedException: If the function failed; ends with the traceback.
            torch.multiprocessing.ProcessExitedException: If a process ended before the function did.
            SystemExit: If that was called for in all processes, or by SIGTERM.
            KeyboardInterrupt: On Ctrl-C.
        """
        check_main_guard()
        if self._strategy.cluster_environment.creates_processes_externally:
            raise MisconfiguredRun(
                f"A strategy of the kind `{self._start_method}` starts its processes itself, and here they have been "
                "started already.",
                got=f"{type(self._strategy.cluster_environment).__name__}, LOCAL_RANK={os.environ.get('LOCAL_RANK')}",
                fix='`strategy="ddp"`, which takes part in what `torchrun`, `srun` or another Trainer has started; or '
                "unset LOCAL_RANK, if it is left over.",
            )
        if self._start_method != "fork" and (getattr(sys.modules["__main__"], "__file__", None) or "").startswith("<"):
            raise MisconfiguredRun(
                "New processes import the program, and this one is in no file.",
                got="a program that came through a pipe",
                fix='Put the code into a file and run that, or pass `strategy="ddp_fork"`.',
            )
        if self._start_method == "fork" and torch.cuda.is_initialized():
            raise MisconfiguredRun(
                "A process that has used a GPU cannot be forked: the GPU would not work in the new processes.",
                fix="In a notebook, restart the kernel and let nothing use the GPU before the Trainer does, such as "
                '`model.cuda()` or `torch.cuda.get_device_name()`; in a script, pass `strategy="ddp"`.',
            )
        state = None if self._start_method == "fork" else ProcessState()
        job = Job(function, args, kwargs, collect, state)
        with tempfile.TemporaryDirectory(prefix="fulmen-") as folder:
            asked = self._run(job, folder)
            returned, collected = receive(os.path.join(folder, "result"))
        if restore is not None and collect is not None:
            restore(collected)
        _raise_asked(asked, None)
        return returned

    def kill(self, signum: int | signal.Signals) -> None:
        if self._group is not None:
            self._group.kill(signum)

    def _run(self, job: Job, folder: str) -> int | None:
        """Runs a job in all processes.

        Returns:
            The signal that came meanwhile, if any.
        """
        variables = meeting(self._strategy.cluster_environment, self._strategy.num_processes, self._num_nodes)
        bootstrap = Bootstrap(folder)
        sent: Job | str = job
        if self._start_method != "fork":
            sent = os.path.join(folder, "job")
            send(job, sent, _FIX)
        group = self._start(sent, variables, folder)
        try:
            group.join()
        finally:
            self._group = None
        bootstrap.check()
        reports = list(group.reports.values())
        first = culprit(reports)
        if first is not None:
            failed: BaseException | None = _error(_as_they_knew(first, folder), len(reports))
            if group.asked is not None and (first.is_calm or first.followed):
                failed = None
            _raise_asked(group.asked, failed)
            if (error := _left(reports) or failed) is not None:
                raise error
        return group.asked

    @property
    def _num_nodes(self) -> int:
        return int(getattr(self._strategy, "num_nodes", 1))

    def _start(self, job: Job | str, variables: dict[str, str], folder: str) -> Group:
        """Starts the processes; those that have started end if one cannot."""
        context: Any = multiprocessing.get_context(self._start_method)
        count = self._strategy.num_processes
        self._group = group = Group([], [], int(variables["NODE_RANK"]) * count)
        group.listen()  # one that comes between a start and the wait would leave the processes without this one
        try:
            for local_rank in range(count):
                here, there = context.Pipe(duplex=False)
                told = {**variables, "LOCAL_RANK": str(local_rank), Bootstrap.VARIABLE: folder}
                with _told(told), _later(self._start_method) as mask:
                    result = os.path.join(folder, "result")
                    place = Place(local_rank, count, variables, result, self._start_method, mask)
                    process = context.Process(target=work, args=(job, place, there), name=f"rank {place.rank}")
                    process.start()
                there.close()
                group.processes.append(process)
                group.connections.append(here)
        except BaseException:
            group.unlisten()
            group.end(0.0)
            raise
        return group


@contextlib.contextmanager
def _later(start_method: str) -> Iterator[frozenset[int] | None]:
    """Has signals wait that come to a fork before it can hear them: Python drops those that are due when it forks.

    Yields:
        The mask that the fork has to put back.
    """
    if start_method != "fork":
        yield None
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield frozenset(map(int, mask))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _told(variables: dict[str, str]) -> Iterator[None]:
    """What a new process finds in its environment from its first line on."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of forks in processes with threads; torch always has some
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _raise_asked(number: int | None, cause: BaseException | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt from cause
    if number is not None:
        raise SIGTERMException from cause


def _left(reports: list[Report]) -> BaseException | None:
    """What is raised where all processes have left as one."""
    codes = {report.code for report in reports}
    if len(codes) > 1 or any(report.kind != "exit" for report in reports):
        return None
    code = codes.pop()
    if code == 128 + signal.SIGINT:
        return KeyboardInterrupt()
    return SIGTERMException() if code == 128 + signal.SIGTERM else SystemExit(code)


def _as_they_knew(report: Report, folder: str) -> Report:
    """A report of a process that has ended without a word, or after another, completed by what they told each other."""
    if report.kind != "gone" and not report.followed:
        return report
    try:
        with open(os.path.join(folder, "fault"), encoding="utf-8") as file:
            fault = Fault(**json.load(file))
    except (OSError, ValueError):  # nobody knew more, or who wrote it was killed
        return report
    if fault.kind in ("killed", "left", "exit"):
        return report
    return Report(fault.rank, report.pid, fault.kind, fault.text, report.code)


def _error(report: Report, count: int) -> Exception:
    text = f"{report.headline}, and the run has ended on all {count} processes of this machine."
    if report.kind == "gone" and report.code > 0:
        text += " What it has printed stands above."
    if report.code == -signal.SIGKILL:
        text += " See in the system's log (`dmesg`) whether memory ran out."
    if report.text:
        text += f"\n\nOn rank {report.rank}:\n{report.text}"
    if report.kind == "exception":
        return ProcessRaisedException(text, report.rank, report.pid)
    return ProcessExitedException(text, report.rank, report.pid, report.code, report.signal_name)
