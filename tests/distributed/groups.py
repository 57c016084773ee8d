"""Groups of real processes that run what a test tells them; a `Trainer` in them is one of several."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

_PORTS, _WORKER, _count = 600, int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), itertools.count()


class GroupFailed(AssertionError):
    """A process of a group raised, died, or did not answer in time; the text holds every traceback."""


class Group:
    """Processes that were forked off this one, each a rank. They live until `close`, over many calls.

    Args:
        world_size: How many.
        **environment: More variables for each of them.
    """

    def __init__(self, world_size: int, **environment: str) -> None:
        self.world_size = world_size
        self._members: list[tuple[int, Connection]] = []
        import torch._dynamo  # noqa: F401  (DDP and optimizers import it, which takes each process two seconds)

        port = _free_port()
        for rank in range(world_size):
            here, there = Pipe()
            pid = os.fork()
            if pid == 0:
                for _, other in self._members:
                    other.close()
                here.close()
                _serve(there, rank, world_size, port, environment)
            there.close()
            self._members.append((pid, here))

    def run(self, function: Callable[..., Any], *args: Any, timeout: float = 60.0) -> list[Any]:
        """Calls a function on every rank, and returns what each gave, in the order of their ranks.

        Args:
            function: A function at the top of a module.
            *args: Its arguments.
            timeout: After how many seconds all processes are killed.

        Raises:
            GroupFailed: If one of them raised, died or took too long. The group is gone then.
        """
        for _, pipe in self._members:
            pipe.send((function, args))
        deadline = time.monotonic() + timeout
        answers: list[tuple[bool, Any]] = []
        for rank, (_, pipe) in enumerate(self._members):
            try:
                if not pipe.poll(max(0.0, deadline - time.monotonic())):
                    answers.append((False, f"no answer from rank {rank} within {timeout} s"))
                else:
                    answers.append(pipe.recv())
            except EOFError:
                answers.append((False, f"rank {rank} died"))
        if not all(good for good, _ in answers):
            self.close(kill=True)
            raise GroupFailed("\n\n".join(str(answer) for good, answer in answers if not good))
        return [answer for _, answer in answers]

    @property
    def is_alive(self) -> bool:
        """Whether it can run something: the processes are gone after a failure."""
        return bool(self._members)

    def close(self, kill: bool = False) -> None:
        """Ends the processes."""
        for pid, pipe in self._members:
            if kill:
                os.kill(pid, signal.SIGKILL)
            else:  # a group that was forked later holds the pipe, so closing it alone says nothing
                pipe.send(None)
            pipe.close()
        for pid, _ in self._members:
            os.waitpid(pid, 0)
        self._members.clear()


@contextmanager
def group(world_size: int, **environment: str) -> Iterator[Group]:
    """A group for the length of a block."""
    made = Group(world_size, **environment)
    try:
        yield made
    finally:
        made.close()


def run(function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 60.0, **environment: str) -> Any:
    """Calls a function once on every rank of a new group; see `Group.run`."""
    with group(world_size, **environment) as made:
        return made.run(function, *args, timeout=timeout)


def world() -> int:
    """How many processes there are, for what runs in one of them."""
    return int(os.environ["GROUP_OF_TEST"])


def environ() -> None:
    """Says anew who this process is among the others: a `Trainer` takes that away when it is done."""
    os.environ.update(LOCAL_RANK=os.environ["RANK_IN_TEST"], NODE_RANK="0", WORLD_SIZE=os.environ["GROUP_OF_TEST"])


def _serve(pipe: Connection, rank: int, world_size: int, port: int, environment: dict[str, str]) -> None:
    code = 1
    try:
        os.environ.update(
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK_IN_TEST=str(rank), GROUP_OF_TEST=str(world_size),
            **environment,
        )  # fmt: skip
        warnings.simplefilter("error")
        while True:
            try:
                told = pipe.recv()
            except EOFError:
                told = None
            if told is None:
                break
            function, args = told
            environ()
            try:
                answer = (True, function(*args))
                pickle.dumps(answer)
            except BaseException:
                answer = (False, f"rank {rank}:\n{traceback.format_exc()}")
            pipe.send(answer)
        code = 0
    finally:
        if code == 0:
            _leave()
        os._exit(code)


def _leave() -> None:
    from fulmen.strategies.process_group import leave_group

    leave_group()


def _free_port() -> int:
    """A port that nobody listens on, and that no other test gets before this one does.

    Each worker of pytest has a range of its own, below that from which the system takes ports.
    """
    for _ in range(_PORTS):
        port = 26000 + _PORTS * (_WORKER % 10) + next(_count) % _PORTS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of {_PORTS} ports is free")
