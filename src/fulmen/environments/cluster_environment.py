"""What Fulmen asks of a cluster: which process am I, and where do the others meet."""

from __future__ import annotations

from abc import ABC, abstractmethod


class ClusterEnvironment(ABC):
    """Where this process stands among all processes of a job."""

    @property
    @abstractmethod
    def creates_processes_externally(self) -> bool:
        """Whether something else starts the other processes."""

    @property
    @abstractmethod
    def main_address(self) -> str:
        """The address at which the processes meet."""

    @property
    @abstractmethod
    def main_port(self) -> int:
        """The port at that address."""

    @staticmethod
    @abstractmethod
    def detect() -> bool:
        """Whether this process runs in such an environment."""

    @abstractmethod
    def world_size(self) -> int:
        """The number of processes."""

    @abstractmethod
    def set_world_size(self, size: int) -> None:
        """Tells the number of processes, where the environment can not know it."""

    @abstractmethod
    def global_rank(self) -> int:
        """This process's number among all, from 0."""

    @abstractmethod
    def set_global_rank(self, rank: int) -> None:
        """Tells this process's number among all, where the environment can not know it."""

    @abstractmethod
    def local_rank(self) -> int:
        """This process's number on its machine, from 0."""

    @abstractmethod
    def node_rank(self) -> int:
        """This machine's number, from 0."""

    def run_id(self) -> str:
        """What all processes of a run have in common, and no other run that meets at the same place; or nothing."""
        return ""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raises if what a user passed contradicts the environment.

        Args:
            num_devices: How many devices were asked for on each machine.
            num_nodes: How many machines were asked for.
        """
        return

    def teardown(self) -> None:
        """Undoes what the environment changed in this process."""
        return
