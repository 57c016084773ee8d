from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fulmen.environments.lsf import LSFEnvironment
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

HERE = socket.gethostname()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "hosts"
    file.write_text(f"batch\nfirst\nfirst\n{HERE}\n{HERE}\n")
    values = {
        "LSB_DJOB_RANKFILE": str(file),
        "LSB_JOBID": "71234",
        "JSM_NAMESPACE_SIZE": "4",
        "JSM_NAMESPACE_RANK": "3",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    return file


def test_variables(hosts: Path) -> None:
    assert LSFEnvironment.detect()
    environment = LSFEnvironment()
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("first", 10234)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("first", "10234")
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    environment.set_world_size(7)
    environment.set_global_rank(5)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert rank_zero_only.rank == 5  # type: ignore[attr-defined]
    environment.validate_settings(2, 2)
    environment.teardown()


def test_a_port_of_the_users(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "77")
    assert LSFEnvironment().main_port == 77


def test_machines_with_and_without_their_domain(hosts: Path) -> None:
    hosts.write_text(f"batch\nfirst.cluster\n{HERE}.cluster\n")
    assert LSFEnvironment().node_rank() == 1


@pytest.mark.parametrize("name", ["LSB_DJOB_RANKFILE", "LSB_JOBID", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK"])
def test_it_is_not_detected_without(hosts: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    assert not LSFEnvironment.detect()


@pytest.mark.parametrize("name", ["LSB_DJOB_RANKFILE", "LSB_JOBID"])
def test_it_is_not_made_without(hosts: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(MisconfigurationException, match="Start the program with `jsrun`"):
        LSFEnvironment()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("JSM_NAMESPACE_SIZE", "world_size"),
        ("JSM_NAMESPACE_RANK", "global_rank"),
        ("JSM_NAMESPACE_LOCAL_RANK", "local_rank"),
    ],
)
def test_numbers_that_are_not_there(hosts: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(MisconfigurationException, match="Start the program with `jsrun`"):
        getattr(LSFEnvironment(), read)()


def test_files_of_another_job(hosts: Path) -> None:
    hosts.write_text("batch\nfirst\n")
    with pytest.raises(MisconfigurationException, match="so that the variable names the job's own file"):
        LSFEnvironment().node_rank()
    hosts.write_text("batch\n")
    with pytest.raises(MisconfigurationException, match="so that the variable names the job's own file"):
        LSFEnvironment()


def test_the_first_machine_may_compute_too(hosts: Path) -> None:
    """Only the first line is for the program that starts the others, and not all that are like it."""
    hosts.write_text(f"{HERE}\n{HERE}\n{HERE}\nother\nother\n")
    environment = LSFEnvironment()
    assert (environment.main_address, environment.node_rank()) == (HERE, 0)


def test_a_run_is_known_by_its_job(hosts: Path) -> None:
    assert LSFEnvironment().run_id() == "71234"
