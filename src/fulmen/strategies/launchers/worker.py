"""What a process does that another one has started for a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

from fulmen.strategies.launchers.group import Group
from fulmen.strategies.launchers.meeting import divide_threads
from fulmen.strategies.launchers.parcel import Job, receive, send
from fulmen.strategies.launchers.report import Report
from fulmen.utilities.parent import follow
from fulmen.utilities.rank_zero import rank_zero_only

_FIX = "Return what can be pickled, and set attributes that cannot (open files, locks, lambdas) to None in `teardown`."


@dataclass
class Place:
    """Which process of a run one is.

    Attributes:
        local_rank: Its number on its machine.
        count: How many there are on each machine.
        variables: What its environment says.
        result: The file for what the first process gives back.
        start_method: How it was started.
        mask: The signals that are to be blocked; None where none more than these are.
    """

    local_rank: int
    count: int
    variables: dict[str, str]
    result: str
    start_method: str
    mask: frozenset[int] | None = None

    @property
    def rank(self) -> int:
        """Its number among all."""
        return int(self.variables["NODE_RANK"]) * self.count + self.local_rank


def work(job: Job | str, place: Place, told: Connection) -> None:
    """Runs a job in this process, and tells how it went.

    Args:
        job: The job, or the file that it is in.
        place: Which process this is.
        told: Where the report goes.
    """
    _forget_group()
    if place.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, place.mask)
    _follow_parent()
    try:
        _settle(place)
        if isinstance(job, str):
            job = receive(job)
            assert isinstance(job, Job)
        if job.state is not None:
            job.state.put()
        returned = job.function(*job.args, **job.kwargs)
        if place.local_rank == 0:
            send((returned, None if job.collect is None else job.collect()), place.result, _FIX)
        report = Report(place.rank, os.getpid())
    except BaseException as error:
        report = Report.of(error, place.rank, os.getpid())
    sys.stdout.flush()
    told.send(report)
    told.close()
    sys.exit(report.code)


def _settle(place: Place) -> None:
    os.environ.update(place.variables, LOCAL_RANK=str(place.local_rank))
    rank_zero_only.rank = place.rank  # type: ignore[attr-defined]
    if place.start_method == "fork":
        import torch

        torch.set_num_threads(1)  # OpenMP's threads are not there any more, and more than one would wait for them
    else:
        divide_threads(place.count)


def _forget_group() -> None:
    """What a fork does on a signal is not what the process that waits for it does."""
    waiting = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    waiting = waiting or getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if isinstance(waiting, Group):
        waiting.unlisten()


def _follow_parent() -> None:
    first, parent = os.getppid(), multiprocessing.parent_process()
    follow(lambda: os.getppid() != first or (parent is not None and not parent.is_alive()))
