"""``torchrun``: it starts the processes, and variables say which one this is."""

from __future__ import annotations

import os

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.variables import number
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only, rank_zero_warn

_START = "Start the program with `torchrun`"


class TorchElasticEnvironment(ClusterEnvironment):
    """The environment of a process that ``torchrun`` started."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return _given("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        _given("MASTER_PORT", "12910")
        return _number("MASTER_PORT")

    @staticmethod
    def detect() -> bool:
        return "TORCHELASTIC_RUN_ID" in os.environ

    def world_size(self) -> int:
        return _number("WORLD_SIZE")

    def set_world_size(self, size: int) -> None:
        """Nothing: the launcher knows it."""

    def global_rank(self) -> int:
        return _number("RANK")

    def set_global_rank(self, rank: int) -> None:
        """Takes note of the rank for what only the first process does; the launcher knows it."""
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

    def local_rank(self) -> int:
        return _number("LOCAL_RANK")

    def node_rank(self) -> int:
        return _number("GROUP_RANK") if "GROUP_RANK" in os.environ else 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raises if the launcher started another number of processes than were asked for.

        Args:
            num_devices: How many devices were asked for on each machine.
            num_nodes: How many machines were asked for.

        Raises:
            MisconfiguredValue: If it did.
        """
        if num_devices * num_nodes != self.world_size():
            raise MisconfiguredValue(
                "`torchrun` starts one process for each device on each machine.",
                got=f"devices={num_devices} and num_nodes={num_nodes}, with {self.world_size()} processes",
                fix="`torchrun --nnodes=N --nproc_per_node=D` and `Trainer(num_nodes=N, devices=D)`.",
            )


def _number(variable: str) -> int:
    return number(variable, "TorchElasticEnvironment", _START)


def _given(variable: str, default: str) -> str:
    if variable not in os.environ:
        rank_zero_warn(f"`{variable}` is not set; {default} is taken. What to do: {_START}.")
        os.environ[variable] = default
    return os.environ[variable]
