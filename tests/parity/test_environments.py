"""Which environment is found, and what it reads, as in Lightning."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fulmen.environments.registry import detect
from fulmen.utilities.rank_zero import rank_zero_only

from .scenarios import quiet

SHOWN = {
    "TorchElasticEnvironment": {
        "TORCHELASTIC_RUN_ID": "1", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0",
        "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29501",
    },
    "SLURMEnvironment": {
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1234567", "SLURM_NODELIST": "gpu[03-05,9]",
        "SLURM_STEP_ID": "0",
    },
    "LSFEnvironment": {
        "LSB_DJOB_RANKFILE": "hosts", "LSB_JOBID": "1234", "JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_LOCAL_RANK": "1",
        "JSM_NAMESPACE_RANK": "1",
    },
    "LightningEnvironment": {"LOCAL_RANK": "1", "NODE_RANK": "0", "MASTER_ADDR": "10.0.0.2", "MASTER_PORT": "29502"},
}  # fmt: skip
NAMES = list(SHOWN)


@pytest.fixture(autouse=True)
def _clean(lightning: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = ("TORCHELASTIC", "SLURM", "LSB_", "JSM_", "MASTER", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
    Path("hosts").write_text(f"submitted\n{socket.gethostname()}\n{socket.gethostname()}\n")
    theirs = importlib.import_module("pytorch_lightning.utilities.rank_zero").rank_zero_only
    for one in (theirs, rank_zero_only):
        monkeypatch.setattr(one, "rank", 0, raising=False)


def theirs_found(lightning: ModuleType) -> Any:
    with quiet():
        trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, barebones=True)
    return trainer.strategy.cluster_environment


@pytest.mark.parametrize("one", range(len(NAMES)))
@pytest.mark.parametrize("other", range(len(NAMES)))
def test_the_same_is_found(lightning: ModuleType, monkeypatch: pytest.MonkeyPatch, one: int, other: int) -> None:
    for kind in (NAMES[other], NAMES[one]):
        for name, value in SHOWN[kind].items():
            monkeypatch.setenv(name, value)
    before = dict(os.environ)
    theirs = type(theirs_found(lightning)).__name__
    os.environ.clear()
    os.environ.update(before)
    assert type(detect()).__name__ == theirs == NAMES[min(one, other)]


@pytest.mark.parametrize("kind", NAMES)
def test_the_same_is_read(lightning: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name, value in SHOWN[kind].items():
        monkeypatch.setenv(name, value)

    def told(environment: Any) -> dict[str, Any]:
        names = ("local_rank", "node_rank", "main_address", "main_port", "creates_processes_externally")
        values = {name: getattr(environment, name) for name in names}
        if kind != "LightningEnvironment":  # it is told, by the strategy
            values |= {"world_size": environment.world_size(), "global_rank": environment.global_rank()}
        return {name: value() if callable(value) else value for name, value in values.items()}

    before = dict(os.environ)
    theirs = told(theirs_found(lightning))
    os.environ.clear()
    os.environ.update(before)
    assert told(detect()) == theirs


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_a_shell_of_slurm(lightning: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable, value in SHOWN["SLURMEnvironment"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("SLURM_JOB_NAME", name)
    assert type(theirs_found(lightning)).__name__ == type(detect()).__name__ == "LightningEnvironment"


@pytest.mark.soak
@pytest.mark.parametrize(
    "variables",
    [
        {}, {"RANK": "3"}, {"LOCAL_RANK": "3"}, {"SLURM_PROCID": "3"}, {"JSM_NAMESPACE_RANK": "3"},
        {"RANK": "0", "LOCAL_RANK": "3"}, {"LOCAL_RANK": "0", "SLURM_PROCID": "3"},
        {"SLURM_PROCID": "0", "JSM_NAMESPACE_RANK": "3"},
    ],
)  # fmt: skip
def test_who_is_the_first_at_import(lightning: ModuleType, variables: dict[str, str]) -> None:
    said = []
    for package in ("pytorch_lightning", "fulmen"):
        code = f"from {package}.utilities.rank_zero import rank_zero_only\nrank_zero_only(lambda: print('first'))()"
        environment = {**os.environ, **variables}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        said.append(done.stdout)
    assert said[0] == said[1]


def test_steps_of_a_job(lightning: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 91. Two steps of one job, of which each has two processes: four processes that meet in pairs."""

    def ports(find: Any) -> list[int]:
        found = []
        for step in ("0", "1"):
            before = dict(os.environ)
            monkeypatch.setenv("SLURM_STEP_ID", step)
            found.append(find().main_port)
            os.environ.clear()
            os.environ.update(before)
        return found

    for name, value in SHOWN["SLURMEnvironment"].items():
        monkeypatch.setenv(name, value)
    assert ports(lambda: theirs_found(lightning)) == [19567, 19567]
    assert ports(detect) == [19567, 20576]
