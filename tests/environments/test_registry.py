from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fulmen.environments import mpi, registry
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import LightningEnvironment
from fulmen.environments.lsf import LSFEnvironment
from fulmen.environments.mpi import MPIEnvironment
from fulmen.environments.registry import detect
from fulmen.environments.slurm import SLURMEnvironment
from fulmen.environments.torchelastic import TorchElasticEnvironment

SHOWN: dict[type[ClusterEnvironment], dict[str, str]] = {
    TorchElasticEnvironment: {"TORCHELASTIC_RUN_ID": "1"},
    SLURMEnvironment: {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"},
    LSFEnvironment: {
        "LSB_DJOB_RANKFILE": "hosts", "LSB_JOBID": "1", "JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_LOCAL_RANK": "0",
    },
    MPIEnvironment: {"OMPI_COMM_WORLD_SIZE": "2"},
    LightningEnvironment: {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"},
}  # fmt: skip
ORDER = list(SHOWN)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables but a file of hosts, and MPI with two processes."""
    prefixes = ("TORCHELASTIC", "SLURM", "LSB_", "JSM_", "OMPI", "PMI", "MV2", "MPI_", "MASTER")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
    with open("hosts", "w") as file:
        file.write("submitted\none\none\n")
    world: Any = SimpleNamespace(Get_size=lambda: 2)
    module = ModuleType("mpi4py.MPI")
    module.COMM_WORLD = world  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mpi4py", ModuleType("mpi4py"))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", module)
    for one in (mpi, registry):
        monkeypatch.setattr(one, "available", lambda name: True)


@pytest.mark.parametrize("first", range(len(ORDER)))
@pytest.mark.parametrize("second", range(len(ORDER)))
def test_the_first_in_the_order_is_taken(monkeypatch: pytest.MonkeyPatch, first: int, second: int) -> None:
    for kind in (ORDER[first], ORDER[second]):
        for name, value in SHOWN[kind].items():
            monkeypatch.setenv(name, value)
    assert type(detect()) is ORDER[min(first, second)]


def test_without_variables_it_is_a_program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(detect()) is LightningEnvironment
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert type(detect()) is LightningEnvironment


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_a_shell_in_a_job_of_slurm_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", name)
    assert type(detect()) is LightningEnvironment


def test_mpi_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "available", lambda name: False)
    monkeypatch.setenv("PMI_SIZE", "3")
    with pytest.warns(UserWarning, match=r"one of 3 .*pip install fulmen\[mpi\]"):
        assert type(detect()) is LightningEnvironment


def test_nothing_is_imported_for_what_is_not_there() -> None:
    code = (
        "import sys; from fulmen.environments.registry import detect; detect();"
        "print(*sorted(name for name in sys.modules if name.startswith(('fulmen.environments.', 'mpi4py', 'torch'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ["cluster_environment", "lightning", "registry"]
    assert done.stdout.split() == [f"fulmen.environments.{name}" for name in names]
