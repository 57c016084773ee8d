"""No cluster: processes are started from here, or there is but this one."""

from __future__ import annotations

import os
import socket

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_only


class LightningEnvironment(ClusterEnvironment):
    """The environment of a process that was started by hand. It is rank 0 of 1 until told otherwise.

    Started once a machine, it starts the others of that machine; on several, ``NODE_RANK`` (or ``GROUP_RANK``) says
    which machine it is, and ``MASTER_ADDR`` and ``MASTER_PORT`` where all meet. With ``LOCAL_RANK`` in its variables,
    somebody else starts all of them, and it starts none.
    """

    def __init__(self) -> None:
        self._port: int | None = None
        self._global_rank = 0
        self._world_size = 1

    @property
    def creates_processes_externally(self) -> bool:
        return "LOCAL_RANK" in os.environ

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        if self._port is None:
            if "MASTER_PORT" in os.environ:
                from fulmen.environments.variables import number

                self._port = number("MASTER_PORT", "LightningEnvironment", "Set it to a free port of the first machine")
            else:
                self._port = find_free_network_port()
        return self._port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self._world_size

    def set_world_size(self, size: int) -> None:
        self._world_size = size

    def global_rank(self) -> int:
        return self._global_rank

    def set_global_rank(self, rank: int) -> None:
        self._global_rank = rank
        rank_zero_only.rank = rank  # type: ignore[attr-defined]

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", 0))

    def node_rank(self) -> int:
        return int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", 0)))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raises if a process that was started by hand is none of those that were asked for.

        Args:
            num_devices: How many devices were asked for on each machine.
            num_nodes: How many machines were asked for.

        Raises:
            MisconfiguredRun: If the program has started another number of processes before.
            MisconfiguredValue: If its ``LOCAL_RANK`` or ``NODE_RANK`` is too large.
        """
        if num_devices * num_nodes == 1:
            return
        from fulmen.environments.started import check_count  # one process has no use for it

        check_count(num_devices)
        for variable, rank, flag, count in (
            ("LOCAL_RANK", self.local_rank(), "devices", num_devices),
            ("NODE_RANK", self.node_rank(), "num_nodes", num_nodes),
        ):
            if rank >= count:
                raise MisconfiguredValue(
                    f"`{variable}` is counted from 0, and less than `Trainer({flag}=...)`.",
                    got=f"{variable}={rank} and {flag}={count}",
                    fix=f"`Trainer({flag}={rank + 1})` or more, or unset {variable} if it is left over.",
                )

    def teardown(self) -> None:
        """Forgets ``WORLD_SIZE``, so that a later job in this process starts fresh."""
        os.environ.pop("WORLD_SIZE", None)


def find_free_network_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
