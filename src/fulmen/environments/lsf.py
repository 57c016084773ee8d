"""IBM's LSF with ``jsrun``: it starts the processes, and variables and a file say which one this is."""

from __future__ import annotations

import os
import socket

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.variables import number, text
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only

_START = "Start the program with `jsrun` in a job of `bsub`"
_HOSTS = "LSB_DJOB_RANKFILE"
_NEEDED = (_HOSTS, "LSB_JOBID", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK")


class LSFEnvironment(ClusterEnvironment):
    """The environment of a process that ``jsrun`` started.

    Which machines there are stands in the file that ``LSB_DJOB_RANKFILE`` names. ``MASTER_ADDR`` and ``MASTER_PORT``
    are set, for torch, to the first of them and to a port that is the same in all processes of a job.

    Raises:
        MisconfiguredRun: If this is no such process.
        MisconfiguredValue: If the file has no line after the first, which is for the program that starts the others.
    """

    def __init__(self) -> None:
        self._hosts = _read_hosts()
        self._address = os.environ["MASTER_ADDR"] = self._hosts[0]
        self._port = _port()
        os.environ["MASTER_PORT"] = str(self._port)

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._address

    @property
    def main_port(self) -> int:
        return self._port

    def run_id(self) -> str:
        """The job's number."""
        return os.environ.get("LSB_JOBID", "")

    @staticmethod
    def detect() -> bool:
        return all(name in os.environ for name in _NEEDED)

    def world_size(self) -> int:
        return _number("JSM_NAMESPACE_SIZE")

    def set_world_size(self, size: int) -> None:
        """Nothing: the launcher knows it."""

    def global_rank(self) -> int:
        return _number("JSM_NAMESPACE_RANK")

    def set_global_rank(self, rank: int) -> None:
        """Takes note of the rank for what only the first process does; the launcher knows it."""
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

    def local_rank(self) -> int:
        return _number("JSM_NAMESPACE_LOCAL_RANK")

    def node_rank(self) -> int:
        """This machine's number among those that the job runs on.

        Raises:
            MisconfiguredValue: If it is none of them.
        """
        machines, here = list(dict.fromkeys(self._hosts)), socket.gethostname()
        short = [machine.partition(".")[0] for machine in machines]
        if here in machines:
            return machines.index(here)
        if here.partition(".")[0] in short:
            return short.index(here.partition(".")[0])
        raise MisconfiguredValue(
            f"The file that `{_HOSTS}` names lists the machines of the job, this one among them.",
            got=f"{', '.join(machines)} on {here}",
            fix=f"{_START}, so that the variable names the job's own file.",
        )


def _number(variable: str) -> int:
    return number(variable, "LSFEnvironment", _START)


def _read_hosts() -> list[str]:
    """The machine of each process; the first line is for the program that starts them."""
    path = text(_HOSTS, "LSFEnvironment", _START)
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    hosts = [line for line in lines[1:] if line]
    if not hosts:
        raise MisconfiguredValue(
            f"The file that `{_HOSTS}` names lists the machines of the job, after one for its starter.",
            got=f"{path} with {len(lines)} lines",
            fix=f"{_START}, so that the variable names the job's own file.",
        )
    return hosts


def _port() -> int:
    if "MASTER_PORT" in os.environ:
        return _number("MASTER_PORT")
    return 10000 + _number("LSB_JOBID") % 1000
