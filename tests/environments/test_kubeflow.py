from __future__ import annotations

import pytest

from fulmen.environments.kubeflow import KubeflowEnvironment
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"MASTER_ADDR": "1.2.3.4", "MASTER_PORT": "500", "WORLD_SIZE": "20", "RANK": "3", "LOCAL_RANK": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    environment = KubeflowEnvironment()
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("1.2.3.4", 500)
    assert (environment.world_size(), environment.global_rank()) == (20, 3)
    assert (environment.local_rank(), environment.node_rank()) == (0, 3)  # each pod is a machine with one process
    environment.set_world_size(7)
    environment.set_global_rank(5)
    assert (environment.world_size(), environment.global_rank()) == (20, 3)
    assert rank_zero_only.rank == 5  # type: ignore[attr-defined]
    environment.validate_settings(1, 1)
    environment.teardown()


def test_it_has_to_be_named() -> None:
    with pytest.raises(NotImplementedError, match=r"Trainer\(plugins=KubeflowEnvironment\(\)\)"):
        KubeflowEnvironment.detect()


@pytest.mark.parametrize("read", ["main_address", "main_port", "world_size", "global_rank"])
def test_variables_that_are_not_there(monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MisconfigurationException, match="Start the program as a `PyTorchJob`"):
        value = getattr(KubeflowEnvironment(), read)
        value()
