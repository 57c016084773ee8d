"""Where the processes of a run meet, and how each knows which one it is."""

from __future__ import annotations

import os

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.utilities.exceptions import MisconfiguredRun


def meeting(environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> dict[str, str]:
    """The variables that are the same in all processes of this machine.

    Args:
        environment: Where this process stands among others.
        num_processes: How many processes there are on each machine.
        num_nodes: How many machines there are.

    Returns:
        Values by the names of variables.

    Raises:
        MisconfiguredRun: If there are several machines and nobody has said where they meet.
    """
    if num_nodes > 1 and not environment.creates_processes_externally:
        _check_machines(environment.node_rank(), num_nodes)
    return {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(num_processes * num_nodes),
    }


def divide_threads(num_processes: int) -> None:
    """Shares this machine's cores among its processes, unless ``OMP_NUM_THREADS`` says how many threads each has.

    Args:
        num_processes: How many processes there are on this machine.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // num_processes)
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _check_machines(node_rank: int, num_nodes: int) -> None:
    needed = ("MASTER_PORT",) if node_rank == 0 else ("MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise MisconfiguredRun(
            "On several machines, every process has to know where they meet, or it would wait for the others in vain.",
            got=f"num_nodes={num_nodes} without {' and '.join(missing)}",
            fix="Start the program on each machine with `MASTER_ADDR=<the first machine> MASTER_PORT=29500 "
            "NODE_RANK=<0, 1, ...>`, or with `torchrun` or `srun`.",
        )
    if "NODE_RANK" not in os.environ and "GROUP_RANK" not in os.environ and os.environ.get("RANK", "0") != "0":
        raise MisconfiguredRun(
            "On several machines, `NODE_RANK` says which of them this is.",
            got=f"num_nodes={num_nodes} and RANK={os.environ['RANK']} without NODE_RANK",
            fix="`NODE_RANK=<0, 1, ...>` on each machine; in a `PyTorchJob` of Kubeflow, where each pod is a machine "
            "with one process, `Trainer(num_nodes=..., plugins=KubeflowEnvironment())`.",
        )
    if node_rank >= num_nodes:
        raise MisconfiguredRun(
            "`NODE_RANK` is the number of this machine, counted from 0.",
            got=f"NODE_RANK={node_rank} and num_nodes={num_nodes}",
            fix=f"A number from 0 to {num_nodes - 1}, another on each machine.",
        )
