from __future__ import annotations

import os
import socket

import pytest

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import LightningEnvironment, find_free_network_port
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)


def test_a_process_started_by_hand_is_the_only_one():
    environment = LightningEnvironment()
    assert isinstance(environment, ClusterEnvironment)
    assert LightningEnvironment.detect()
    assert environment.world_size() == 1
    assert environment.global_rank() == environment.local_rank() == environment.node_rank() == 0
    assert not environment.creates_processes_externally
    assert environment.main_address == "127.0.0.1"
    environment.validate_settings(num_devices=1, num_nodes=1)


def test_variables_are_read_where_they_are_set(monkeypatch):
    variables = {"LOCAL_RANK": "3", "GROUP_RANK": "5", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = LightningEnvironment()
    assert environment.creates_processes_externally
    assert (environment.local_rank(), environment.node_rank()) == (3, 5)
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 1234)
    monkeypatch.setenv("NODE_RANK", "2")
    assert environment.node_rank() == 2


def test_it_can_be_told_ranks_and_tells_rank_zero_only():
    environment = LightningEnvironment()
    environment.set_world_size(4)
    environment.set_global_rank(2)
    assert (environment.world_size(), environment.global_rank()) == (4, 2)
    assert rank_zero_only(lambda: "ran")() is None


def test_the_port_stays_and_is_free():
    environment = LightningEnvironment()
    port = environment.main_port
    assert environment.main_port == port
    with socket.socket() as server:
        server.bind(("", find_free_network_port()))


def test_teardown_forgets_the_world_size(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    environment = LightningEnvironment()
    assert environment.world_size() == 1
    environment.teardown()
    assert "WORLD_SIZE" not in os.environ


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("LOCAL_RANK", r"(?s)LOCAL_RANK=2 and devices=2.*`Trainer\(devices=3\)`"),
        ("NODE_RANK", "NODE_RANK=2 and num_nodes=1"),
    ],
)
def test_a_process_is_one_of_those_asked_for(monkeypatch, variable, message):
    monkeypatch.setenv(variable, "1" if variable == "LOCAL_RANK" else "0")
    LightningEnvironment().validate_settings(num_devices=2, num_nodes=1)
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ValueError, match=message):
        LightningEnvironment().validate_settings(num_devices=2, num_nodes=1)
    LightningEnvironment().validate_settings(num_devices=1, num_nodes=1)  # a run of one process asks for no rank


def test_a_port_that_is_none(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "abc")
    with pytest.raises(MisconfigurationException, match=r"(?s)MASTER_PORT=abc.*Set it to a free port"):
        LightningEnvironment().main_port  # noqa: B018


@pytest.mark.parametrize(("started", "asked", "local_rank"), [(2, 3, 1), (3, 2, 2)])
def test_another_number_of_processes_than_was_started(monkeypatch, started, asked, local_rank):
    """Said on all of them, with the number that there is."""
    monkeypatch.setenv("FULMEN_LOCAL_PROCESSES", str(started))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    LightningEnvironment().validate_settings(1, 1)
    LightningEnvironment().validate_settings(started, 1)
    with pytest.raises(
        MisconfigurationException, match=rf"(?s){started} have been started.*`Trainer\(devices={started}\)`"
    ):
        LightningEnvironment().validate_settings(asked, 1)
