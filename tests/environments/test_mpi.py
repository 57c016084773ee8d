"""MPI, with a module in the place of ``mpi4py`` whose processes are threads."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from fulmen.environments import mpi
from fulmen.environments.mpi import MPIEnvironment
from fulmen.utilities.rank_zero import rank_zero_only


class World:
    """A communicator of threads, each of which says its rank by its number."""

    def __init__(self, members: list[int], rank: threading.local) -> None:
        self.members, self.rank = members, rank
        self.barrier, self.told = threading.Barrier(len(members), timeout=20), dict[int, Any]()
        self.parts: dict[Any, World] = {}

    def _exchange(self, value: Any) -> dict[int, Any]:
        self.told[self.Get_rank()] = value
        self.barrier.wait()
        told = dict(self.told)
        self.barrier.wait()
        return told

    def Get_size(self) -> int:
        return len(self.members)

    def Get_rank(self) -> int:
        return self.members.index(self.rank.value)

    def bcast(self, value: Any, root: int = 0) -> Any:
        return self._exchange(value)[root]

    def gather(self, value: Any, root: int = 0) -> Any:
        told = self._exchange(value)
        return list(told.values()) if self.Get_rank() == root else None

    def Split(self, color: int) -> World:
        colors = self._exchange((color, self.rank.value))
        members = sorted(member for one, member in colors.values() if one == color)
        if members[0] == self.rank.value:
            self.parts[color] = World(members, self.rank)
        self._exchange(None)
        return self.parts[color]


def test_processes_on_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = threading.local()
    world = World([0, 1, 2], rank)
    module = ModuleType("mpi4py.MPI")
    module.COMM_WORLD = world  # type: ignore[attr-defined]
    package = ModuleType("mpi4py")
    package.MPI = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)
    monkeypatch.setattr(mpi, "available", lambda name: True)
    monkeypatch.setattr(mpi.socket, "gethostname", lambda: ["b", "a", "b"][rank.value])
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)

    def one(number: int) -> Any:
        rank.value = number
        environment = MPIEnvironment()
        assert environment.detect() and environment.creates_processes_externally
        environment.set_world_size(9)
        environment.set_global_rank(0)
        ranks = (environment.global_rank(), environment.local_rank(), environment.node_rank())
        assert (environment.local_rank(), environment.main_port) == (ranks[1], environment.main_port)
        environment.validate_settings(1, 1)
        environment.teardown()
        return environment.world_size(), ranks, environment.main_address, environment.main_port

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(one, range(3)))
    assert [ranks for _, ranks, _, _ in found] == [(0, 0, 1), (1, 0, 0), (2, 1, 1)]
    assert {(size, address) for size, _, address, _ in found} == {(3, "b")}
    assert len({port for *_, port in found}) == 1


def test_it_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert not MPIEnvironment.detect()
    with pytest.raises(ModuleNotFoundError, match=r"pip install fulmen\[mpi\]"):
        MPIEnvironment()
