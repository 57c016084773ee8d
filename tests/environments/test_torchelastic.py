from __future__ import annotations

import pytest

from fulmen.environments.torchelastic import TorchElasticEnvironment
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

VARIABLES = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "1234",
    "TORCHELASTIC_RUN_ID": "x",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> TorchElasticEnvironment:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    return TorchElasticEnvironment()


def test_variables(environment: TorchElasticEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.detect() and environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 1234)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    environment.set_world_size(7)
    environment.set_global_rank(5)
    assert (environment.world_size(), environment.global_rank()) == (4, 3)
    assert rank_zero_only.rank == 5  # type: ignore[attr-defined]
    monkeypatch.delenv("GROUP_RANK")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert environment.node_rank() == 0 and not environment.detect()
    environment.teardown()


def test_another_number_of_processes(environment: TorchElasticEnvironment) -> None:
    environment.validate_settings(2, 2)
    with pytest.raises(MisconfigurationException, match=r"Trainer\(num_nodes=N, devices=D\)"):
        environment.validate_settings(2, 1)


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", ""), ("RANK", ""), ("LOCAL_RANK", "x"), ("RANK", "-1")])
def test_variables_that_are_not_there(
    environment: TorchElasticEnvironment, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    read = {"WORLD_SIZE": "world_size", "RANK": "global_rank", "LOCAL_RANK": "local_rank"}[name]
    with pytest.raises(MisconfigurationException, match="Start the program with `torchrun`, or choose another"):
        getattr(environment, read)()


@pytest.mark.parametrize(("name", "read"), [("MASTER_ADDR", "main_address"), ("MASTER_PORT", "main_port")])
def test_an_address_is_chosen(
    environment: TorchElasticEnvironment, monkeypatch: pytest.MonkeyPatch, name: str, read: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.warns(UserWarning, match="Start the program with `torchrun`"):
        first = getattr(environment, read)
    assert getattr(environment, read) == first
