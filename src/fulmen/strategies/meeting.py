"""How processes find each other: nobody waits in silence for one that does not come."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any

import torch

from fulmen.environments.started import PROCESSES
from fulmen.strategies.peers.liveness import Identity, this_process
from fulmen.utilities.exceptions import MisconfiguredRun

distributed: Any = torch.distributed  # it names what it has in ways that type checkers miss

# Seconds: how often to look, how long to try before saying so, how long an error waits for the others to see it.
_EVERY, _TRY, _SEEN = 0.05, 20.0, 1.0


def is_torchruns() -> bool:
    """Whether torchrun holds the store, which then goes with none of the processes."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


class Meeting:
    """The place where the processes of a program meet: a store that the process of rank 0 holds, or torchrun's.

    Args:
        address: The host of rank 0.
        port: Its port.
        rank: This process's number.
        world_size: The number of processes.
        report_after: After how many seconds to say who is missing; 0 for never.
        ended: Which processes that this one has started have ended: how, by their local ranks. This one has local
            rank 0.
        run: What no process of another job has; empty where nothing is known.
    """

    def __init__(
        self,
        address: str,
        port: int,
        rank: int,
        world_size: int,
        report_after: float,
        ended: Callable[[], dict[int, str]] = dict,
        run: str = "",
    ) -> None:
        self.address = address
        self.port = port
        self.rank = rank
        self.world_size = world_size
        self.report_after = report_after
        self.ended = ended
        self.run = run
        self._let_in: Callable[[], None] | None = None

    def store(self, timeout: timedelta) -> Any:
        """The store, as soon as it is there.

        Args:
            timeout: How long to wait for it.

        Raises:
            MisconfiguredRun: If the port is in use, or nothing is there in time.
        """
        if is_torchruns():
            whole = next(iter(distributed.rendezvous("env://", self.rank, self.world_size, timeout=timeout)))[0]
            return self._part_of(whole, timeout)
        self._resolve(timeout)
        if self.rank == 0:
            return self._opened(timeout)
        for waited in self._clock(timeout):
            try:
                return self._connect(False, timedelta(seconds=min(_TRY, timeout.total_seconds() - waited + 1)))
            except (distributed.DistNetworkError, distributed.DistStoreError, TimeoutError):
                print(
                    f"Rank {self.rank} of {self.world_size} has not found the process of rank 0 at "
                    f"{self.address}:{self.port} yet, and goes on trying.",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        raise MisconfiguredRun(
            f"The process of rank 0 is to be found at {self.address}:{self.port}.",
            got=f"nothing there within {timeout.total_seconds():g} seconds",
            fix="See whether rank 0 runs, and whether its host and port can be reached from here; `MASTER_ADDR` and "
            "`MASTER_PORT` say where it is.",
        )

    def _part_of(self, whole: Any, timeout: timedelta) -> Any:
        """The part of torchrun's store that is this start's alone.

        The store outlives restarts, and with it what failed processes have left there. Rank 0 makes a new part, and
        tells it to whom asks; those that ask are new, too, or nobody listens to the answer.
        """
        if self.rank == 0:
            part = uuid.uuid4().hex

            def let_in() -> None:
                for rank in range(1, self.world_size):
                    if whole.check([f"fulmen/asks/{rank}"]):
                        whole.set(f"fulmen/part/{whole.get(f'fulmen/asks/{rank}').decode()}", part)

            self._let_in = let_in
            return distributed.PrefixStore(part, whole)
        asks = uuid.uuid4().hex
        whole.set(f"fulmen/asks/{self.rank}", asks)
        others, told = range(1, self.world_size), self.report_after <= 0
        for waited in self._clock(timeout):
            if whole.check([f"fulmen/part/{asks}"]):
                return distributed.PrefixStore(whole.get(f"fulmen/part/{asks}").decode(), whole)
            if not told and waited > self.report_after:
                told = True
                self._report(others, waited)
        raise self._late(others, timeout)

    def _resolve(self, timeout: timedelta) -> None:
        """Waits until the name of the host of rank 0 is known: a cluster may need a while after a start."""
        told = False
        for _ in self._clock(timeout):
            try:
                socket.getaddrinfo(self.address, self.port)
                return
            except OSError as error:
                reason = str(error)
            if not told:
                told = True
                print(
                    f"Rank {self.rank} of {self.world_size} does not know the host {self.address!r} ({reason}), and "
                    "goes on trying. `MASTER_ADDR` says where rank 0 is.",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        raise MisconfiguredRun(
            "Every process knows the host of rank 0 by its name.",
            got=f"{self.address!r}: {reason}",
            fix="Set `MASTER_ADDR` to a name or an address that can be reached from here.",
        )

    def wait_for_all(self, store: Any, timeout: timedelta) -> dict[int, Identity]:
        """Waits until every rank has come.

        Args:
            store: The store.
            timeout: How long to wait.

        Returns:
            Which process each rank is.

        Raises:
            MisconfiguredRun: If one does not come in time, has ended before, or belongs to another run.
        """
        self._come(store)
        here: dict[int, Identity] = {}
        told = self.report_after <= 0
        for waited in self._clock(timeout):
            if self._let_in is not None:
                self._let_in()
            ended = self.ended()  # before it is asked who has come: one may have come and ended since
            for rank in range(self.world_size):
                if rank not in here and store.check([f"fulmen/here/{rank}"]):
                    here[rank] = self._read(store.get(f"fulmen/here/{rank}"), rank)
            if len(here) == self.world_size:
                return here
            self._check({local: how for local, how in ended.items() if self.rank + local not in here})
            if not told and waited > self.report_after:
                told = True
                if self.rank == min(here):
                    self._report(here, waited)
        raise self._late(here, timeout)

    def _come(self, store: Any) -> None:
        own = this_process(owns_store=self.rank == 0 and not is_torchruns())
        said = json.dumps({"size": self.world_size, "run": self.run, "process": own.as_dict()})
        there = store.compare_set(f"fulmen/here/{self.rank}", "", said)
        if there == said.encode():
            return
        other = self._read(there, self.rank)
        raise MisconfiguredRun(
            "Each rank is one process.",
            got=f"two processes that are rank {self.rank}: {other.pid} on {other.host}, and {own.pid} on {own.host}",
            fix=f"Give each process its own rank. If another program meets at {self.address}:{self.port}, too, set "
            "`MASTER_PORT` to another port for one of them.",
        )

    def _check(self, ended: dict[int, str]) -> None:
        """Raises if a process will not come any more."""
        for how in ended.values():
            raise MisconfiguredRun(
                f"A run on {self.world_size} processes begins when all of them are there.",
                got=f"{how} before it came to `trainer.fit` or another run of the Trainer",
                fix="The program runs in every process from its first line on: end none of them before `fit` is over, "
                "call `fit` in all and not under `if rank == 0`, and see what that process has printed.",
            )

    def _read(self, said: bytes, rank: int) -> Identity:
        found = json.loads(said)
        if found["size"] != self.world_size:
            time.sleep(_SEEN)
            raise MisconfiguredRun(
                "All processes of a run agree on how many they are.",
                got=f"{self.world_size} processes on rank {self.rank}, {found['size']} on rank {rank}",
                fix="Pass the same `Trainer(devices=..., num_nodes=...)` everywhere, or the same `WORLD_SIZE`.",
            )
        if found["run"] != self.run:
            time.sleep(_SEEN)
            raise MisconfiguredRun(
                "All processes of a run belong to the same job.",
                got=f"job {self.run or 'unknown'} on rank {self.rank}, job {found['run'] or 'unknown'} on rank {rank}",
                fix=f"Two jobs meet at {self.address}:{self.port}: set `MASTER_PORT` to another port for one of them.",
            )
        return Identity(**found["process"])

    def _missing(self, here: Collection[int]) -> str:
        missing = [str(rank) for rank in range(self.world_size) if rank not in here]
        return f"rank {', '.join(missing)} of {self.world_size} has not come"

    def _report(self, here: Collection[int], waited: float) -> None:
        print(f"{self._missing(here)}: waited {waited:.0f} seconds so far.{_leftover()}", file=sys.stderr, flush=True)

    def _late(self, here: Collection[int], timeout: timedelta) -> MisconfiguredRun:
        return MisconfiguredRun(
            f"A run on {self.world_size} processes begins when all of them are there.",
            got=f"{self._missing(here)} within {timeout.total_seconds():g} seconds",
            fix="See whether these processes were started, each with its own rank, and what they have printed."
            + _leftover(),
        )

    def _opened(self, timeout: timedelta) -> Any:
        try:
            return self._connect(True, timeout)
        except (distributed.DistNetworkError, RuntimeError) as error:
            words = str(error).lower()
            if "address already in use" not in words and str(errno.EADDRINUSE) not in words:
                raise
            raise MisconfiguredRun(
                "The process of rank 0 listens on a port, where the others find it.",
                got=f"port {self.port}, which is in use",
                fix="Set `MASTER_PORT` to a free one, the same for all processes, or see whether an earlier run is "
                "still there.",
            ) from None

    def _connect(self, listens: bool, timeout: timedelta) -> Any:
        return distributed.TCPStore(
            self.address, self.port, self.world_size, listens, timeout, wait_for_workers=False, multi_tenant=True
        )

    def _clock(self, timeout: timedelta) -> Iterator[float]:
        """The seconds that have passed, until the time is over."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < timeout.total_seconds():
            yield waited
            time.sleep(_EVERY)


def _leftover() -> str:
    """What to do where nobody starts the others, since a variable says that somebody does."""
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is None or is_torchruns() or PROCESSES in os.environ:
        return ""
    return (
        f" `LOCAL_RANK={local_rank}` is set in the environment, which says that something else starts all processes: "
        "unset it if it is left over."
    )
