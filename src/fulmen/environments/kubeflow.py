"""Kubeflow's ``PyTorchJob``: one process a pod, and variables say which one this is."""

from __future__ import annotations

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.variables import number, text
from fulmen.utilities.exceptions import MisconfiguredHook
from fulmen.utilities.rank_zero import rank_zero_only

_START = "Start the program as a `PyTorchJob` of Kubeflow"


class KubeflowEnvironment(ClusterEnvironment):
    """The environment of a pod of a ``PyTorchJob``, each of which counts as a machine with one process.

    It cannot be told from its variables, so name it: ``Trainer(plugins=KubeflowEnvironment())``.
    """

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return text("MASTER_ADDR", "KubeflowEnvironment", _START)

    @property
    def main_port(self) -> int:
        return _number("MASTER_PORT")

    @staticmethod
    def detect() -> bool:
        raise MisconfiguredHook(
            "Kubeflow's environment cannot be told from its variables.",
            fix="Name it: `Trainer(plugins=KubeflowEnvironment())`.",
        )

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
        return 0

    def node_rank(self) -> int:
        return self.global_rank()


def _number(variable: str) -> int:
    return number(variable, "KubeflowEnvironment", _START)
