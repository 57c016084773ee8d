"""Several processes, each with a device and a whole model of its own, that act as one."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from fulmen.accelerators.accelerator import Accelerator
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.precision.precision import Precision
from fulmen.strategies import process_group
from fulmen.strategies.collectives import connected, gather_stack, reduce_nest
from fulmen.strategies.strategy import Strategy
from fulmen.strategies.tally import Tally
from fulmen.strategies.turns import Turns
from fulmen.utilities.rank_zero import rank_zero_only
from fulmen.utilities.types import _PATH, TBroadcast, TReduce


class ParallelStrategy(Strategy, ABC):
    """Several processes that talk through ``torch.distributed``.

    Args:
        accelerator: The kind of device; None takes the one that the devices belong to.
        parallel_devices: The devices of this machine, one a process; None for those that the Trainer is given.
        cluster_environment: Where this process stands among others; None for what is found.
        checkpoint_io: How checkpoints get to disk and back.
        precision_plugin: How numbers look; None is single precision.
    """

    _averaging_period: int | None = None  # where the weights are brought together, and not the gradients

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: Any = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self._parallel_devices = parallel_devices
        self.environment_given = cluster_environment is not None
        if cluster_environment is not None:
            self.cluster_environment = cluster_environment
        self._layer_sync: Any = None
        self._num_nodes = 1
        self._turns: Turns | None = None
        self._ranks = (0, 0, 0, 1)
        self.in_child = False  # in a process that a launcher has started for this run

    # Who is who.

    @property
    def global_rank(self) -> int:  # type: ignore[override]
        """This process's number among all."""
        return self._ranks[0]

    @property
    def local_rank(self) -> int:  # type: ignore[override]
        """This process's number on its machine."""
        return self._ranks[1]

    @property
    def node_rank(self) -> int:  # type: ignore[override]
        """The number of its machine."""
        return self._ranks[2]

    @property
    def world_size(self) -> int:  # type: ignore[override]
        """The number of processes on all machines."""
        return self._ranks[3]

    @property
    def parallel_devices(self) -> list[torch.device] | None:
        """The devices of this machine, one a process."""
        return self._parallel_devices

    @parallel_devices.setter
    def parallel_devices(self, parallel_devices: list[torch.device] | None) -> None:
        self._parallel_devices = parallel_devices

    @property
    def root_device(self) -> torch.device:
        if not self._parallel_devices:
            return torch.device("cpu")
        return self._parallel_devices[self.local_rank % len(self._parallel_devices)]

    @property
    def num_nodes(self) -> int:
        """The number of machines."""
        return self._num_nodes

    @num_nodes.setter
    def num_nodes(self, num_nodes: int) -> None:
        self._num_nodes = num_nodes

    @property
    def num_processes(self) -> int:
        """The number of processes on this machine."""
        return len(self._parallel_devices) if self._parallel_devices is not None else 0

    @property
    def is_distributed(self) -> bool:
        """Whether there may be several processes."""
        return True

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """What a ``DistributedSampler`` is told of this process."""
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def set_world_ranks(self) -> None:
        """Takes note of who this process is among the others."""
        environment = self.cluster_environment
        if self.num_processes:
            environment.set_global_rank(environment.node_rank() * self.num_processes + environment.local_rank())
            environment.set_world_size(self.num_nodes * self.num_processes)
        self._ranks = (
            environment.global_rank(), environment.local_rank(), environment.node_rank(), environment.world_size()
        )  # fmt: skip
        rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]

    # How processes agree.

    def reduce(self, tensor: TReduce, group: Any = None, reduce_op: Any = "mean") -> TReduce:
        with self.waiting("reduce"):
            result: TReduce = reduce_nest(tensor, group, reduce_op, self.root_device)
            return result

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        with self.waiting("all_gather"):
            return gather_stack(tensor, group, sync_grads, self.root_device)

    def all_gather_object(self, obj: Any) -> list[Any]:
        if self.world_size == 1 or not connected():
            return [obj]
        gathered: list[Any] = [None] * self.world_size
        with self.waiting("all_gather_object"):
            torch.distributed.all_gather_object(gathered, obj)
        return gathered

    def broadcast(self, obj: TBroadcast, src: int = 0) -> TBroadcast:
        if not connected():
            return obj
        held: list[Any] = [obj]
        with self.waiting("broadcast"):
            torch.distributed.broadcast_object_list(held, src, device=self._device_of_group())
        result: TBroadcast = held[0]
        return result

    def barrier(self, name: str | None = None) -> None:
        if not connected():
            return
        with self.waiting(f"barrier {name!r}" if name else "a barrier"):
            if self.root_device.type == "cuda" and torch.distributed.get_backend() == "nccl":
                torch.distributed.barrier(device_ids=[self.root_device.index or 0])
            else:
                torch.distributed.barrier()

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        if not connected():
            return decision
        votes = self.reduce(torch.tensor(int(decision), device=self.root_device), reduce_op="sum")
        return bool(votes == self.world_size) if all else bool(votes > 0)

    def combine_numbers(self, numbers: list[float], reduce_op: Literal["sum", "max"]) -> list[float]:
        if not connected():
            return numbers
        combined = torch.tensor(numbers, dtype=torch.float64, device=self._device_of_group())
        torch.distributed.all_reduce(combined, getattr(torch.distributed.ReduceOp, reduce_op.upper()))
        found: list[float] = combined.tolist()
        return found

    def open_turns(self) -> Turns:
        if self._turns is None:
            self._turns = Turns(process_group.store_of_run(), self.global_rank, self.world_size, self.waiting)
        self._turns.begin()
        return self._turns

    def open_tally(self) -> Tally | None:
        if self._averaging_period is not None:  # gradients are not brought together, so nobody knows who has spoken
            return None
        return Tally(process_group.store_within_run("tally"), self.world_size, self.root_device)

    def _device_of_group(self) -> torch.device:
        """Where a collective of plain objects takes place."""
        return self.root_device if torch.distributed.get_backend() == "nccl" else torch.device("cpu")

    # Training.

    @contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Gradients are not brought together inside, as in all but the last batch of an accumulation window."""
        no_sync: Callable[[], AbstractContextManager[Any]] | None = getattr(self.model, "no_sync", None)
        before, self._held_back = self._held_back, True
        try:
            with nullcontext() if no_sync is None else no_sync():
                yield
        finally:
            self._held_back = before

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any = None) -> None:
        with self.waiting("the writing of a checkpoint", patient=True):  # however large, wherever to
            super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: _PATH, weights_only: bool | None = None) -> dict[str, Any]:
        with self.waiting("the reading of a checkpoint", patient=True):
            return super().load_checkpoint(checkpoint_path, weights_only)

    def teardown(self) -> None:
        self._turns = None
        self.cluster_environment.teardown()
        super().teardown()
