"""MPI: ``mpirun`` starts the processes, and ``mpi4py`` says which one this is."""

from __future__ import annotations

import socket
from typing import Any

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import find_free_network_port
from fulmen.utilities.imports import available, require
from fulmen.utilities.rank_zero import rank_zero_only


class MPIEnvironment(ClusterEnvironment):
    """The environment of a process that ``mpirun`` started; it needs ``mpi4py``.

    Raises:
        ModuleNotFoundError: If that is not installed.
    """

    def __init__(self) -> None:
        self._world: Any = _mpi().COMM_WORLD
        self._local: Any = None
        self._node_rank = 0
        self._address: str | None = None
        self._port: int | None = None

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        if self._address is None:
            self._address = str(self._world.bcast(socket.gethostname(), root=0))
        return self._address

    @property
    def main_port(self) -> int:
        if self._port is None:
            self._port = int(self._world.bcast(find_free_network_port(), root=0))
        return self._port

    @staticmethod
    def detect() -> bool:
        """Whether ``mpi4py`` is there and several processes were started."""
        return available("mpi4py") and bool(_mpi().COMM_WORLD.Get_size() > 1)

    def world_size(self) -> int:
        return int(self._world.Get_size())

    def set_world_size(self, size: int) -> None:
        """Nothing: MPI knows it."""

    def global_rank(self) -> int:
        return int(self._world.Get_rank())

    def set_global_rank(self, rank: int) -> None:
        """Takes note of the rank for what only the first process does; MPI knows it."""
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

    def local_rank(self) -> int:
        self._find_machines()
        return int(self._local.Get_rank())

    def node_rank(self) -> int:
        self._find_machines()
        return self._node_rank

    def _find_machines(self) -> None:
        """Lets each process know on which machine the others are; all of them have to come here."""
        if self._local is not None:
            return
        here = socket.gethostname()
        machines = self._world.gather(here, root=0)
        ordered = self._world.bcast(sorted(set(machines)) if machines is not None else None, root=0)
        self._node_rank = ordered.index(here)
        self._local = self._world.Split(color=self._node_rank)


def _mpi() -> Any:
    return require("mpi4py.MPI", "mpi", "`MPIEnvironment`")
