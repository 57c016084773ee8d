"""Groups of real processes for tests: a function runs on every rank, and what it returns comes back."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities.rank_zero import rank_zero_only


class GroupError(AssertionError):
    """A rank failed, or did not come to an end."""


def run_on(world: int, function: Callable[..., Any], *args: Any, timeout: float = 60, group: bool = True) -> list[Any]:
    """Runs a function on forked processes that form a gloo group.

    Args:
        world: How many.
        function: Called as ``function(rank, *args)``; any function, since the processes are forked.
        *args: Handed on to it.
        timeout: Seconds until all of them are killed.
        group: Whether to make a process group before.

    Returns:
        What the function returned, by rank.

    Raises:
        GroupError: With the traceback of every rank that failed, or the place of every one that was killed.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(world)]
        processes = [
            context.Process(target=_child, args=(rank, world, folder, pipes[rank][1], function, args, timeout, group))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for _, sender in pipes:
            sender.close()
        try:
            answers = _answers([receiver for receiver, _ in pipes], timeout)
        finally:
            places = _end(processes, folder)
    failed = [(rank, text) for rank, (ok, text) in answers.items() if not ok]
    if failed or len(answers) < world:
        stuck = [(rank, places[rank]) for rank in range(world) if rank not in answers]
        told = [f"rank {rank} failed:\n{text}" for rank, text in failed]
        told += [f"rank {rank} did not end within {timeout} s:\n{place}" for rank, place in stuck]
        raise GroupError("\n".join(told))
    return [answers[rank][1] for rank in range(world)]


def _answers(receivers: list[Connection], timeout: float) -> dict[int, tuple[bool, Any]]:
    end = time.monotonic() + timeout
    answers: dict[int, tuple[bool, Any]] = {}
    open_ones = dict(enumerate(receivers))
    while open_ones and (left := end - time.monotonic()) > 0:
        for ready in wait(list(open_ones.values()), left):
            rank = next(rank for rank, receiver in open_ones.items() if receiver is ready)
            try:
                answers[rank] = pickle.loads(open_ones.pop(rank).recv_bytes())
            except EOFError:
                answers[rank] = (False, "it ended without an answer")
            if not answers[rank][0]:  # the others may wait for this one: they have two seconds more
                end = min(end, time.monotonic() + 2)
    return answers


def _end(processes: list[Any], folder: str) -> dict[int, str]:
    """Ends what still runs, and says where it was."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.join(0.2)
        if process.is_alive():
            os.kill(process.pid, signal.SIGUSR1)
    if any(process.is_alive() for process in running):
        time.sleep(0.3)
    for process in processes:
        process.kill()
        process.join()
    found = {}
    for rank in range(len(processes)):
        path = Path(folder, f"place-{rank}")
        found[rank] = path.read_text() if path.exists() else ""
    return found


def _child(
    rank: int, world: int, folder: str, sender: Connection, function: Any, args: Any, timeout: float, group: bool
) -> None:
    with open(Path(folder, f"place-{rank}"), "w") as place:
        faulthandler.register(signal.SIGUSR1, file=place, all_threads=False)
        torch.set_num_threads(1)
        rank_zero_only.rank = rank  # type: ignore[attr-defined]
        try:
            if group:
                store = distributed.FileStore(str(Path(folder, "store")), world)
                limit = timedelta(seconds=timeout)
                distributed.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=limit)
            answer = (True, function(rank, *args))
            data = pickle.dumps(answer)
        except BaseException:
            data = pickle.dumps((False, traceback.format_exc()))
        sender.send_bytes(data)
        sender.close()
        os._exit(0)  # what the parent has open is not this process's to end


class GroupStrategy(SingleDeviceStrategy):
    """One CPU a process; they agree through the default process group, and gradients are nobody's concern.

    Attributes:
        collectives: How many collectives there were.
    """

    def __init__(self) -> None:
        super().__init__("cpu")
        if distributed.is_initialized():
            self.global_rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.collectives = 0

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        self.collectives += 1
        total = tensor.clone()
        distributed.all_reduce(total, group=group)
        return total / self.world_size if reduce_op == "mean" else total

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        self.collectives += 1
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        distributed.all_gather(parts, tensor.contiguous(), group=group)
        return torch.stack(parts)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        self.collectives += 1
        objects = [obj]
        distributed.broadcast_object_list(objects, src)
        return objects[0]

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        self.collectives += 1
        distributed.barrier()
