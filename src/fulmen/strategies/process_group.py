"""The group of processes: joining it, leaving it, and the store beside it."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.strategies.connections import shut, sockets
from fulmen.strategies.meeting import Meeting, is_torchruns
from fulmen.strategies.peers.board import Board
from fulmen.strategies.peers.ending import record_error
from fulmen.strategies.peers.faults import Fault, PeerFailed, fault_of, is_of_a_broken_connection
from fulmen.strategies.peers.liveness import Identity, how_it_ended
from fulmen.strategies.peers.wire import NoAnswer, StoreLost
from fulmen.utilities.exceptions import MisconfiguredRun

distributed: Any = torch.distributed  # it names what it has in ways that type checkers miss

_store: Any = None
_runs = 0
_given_up = False
_place: tuple[str, int] | None = None  # where the processes have met
_joined = 0  # how often they have become a group there
_connections: dict[int, int] = {}  # those that joining has made
# Seconds: how long the host of the store waits for others to leave; how long a process may take to end after it has
# closed its connections.
_PATIENCE, _CLOSED = 5.0, 2.0

members: dict[int, Identity] = {}  # which process each rank is, once they have met


def meet(
    environment: ClusterEnvironment,
    rank: int,
    world_size: int,
    timeout: timedelta,
    report_after: float,
    ended: Callable[[], dict[int, str]] = dict,
) -> None:
    """Waits until all processes are there. They stay together until they end, over several runs.

    Args:
        environment: Where the processes meet.
        rank: This process's number.
        world_size: The number of processes.
        timeout: How long to wait for the others.
        report_after: After how many seconds to say who is missing.
        ended: Which processes that this one has started have ended, and how.

    Raises:
        MisconfiguredRun: If the others do not come, are of another run, or one of this group has failed.
    """
    global _store, _place
    if _given_up:
        raise MisconfiguredRun(
            "A run has failed on one of several processes, and those that are left are no group any more.",
            fix="Let the error end the program, and start it again; "
            '`trainer.fit(model, ckpt_path="last")` goes on from the last checkpoint.',
        )
    if _joined and not distributed.is_initialized() and _place != (environment.main_address, environment.main_port):
        _start_anew()
    if distributed.is_initialized() or _store is not None:
        return
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    _place = environment.main_address, environment.main_port
    meeting = Meeting(*_place, rank, world_size, report_after, ended, environment.run_id())
    store = meeting.store(timeout)
    members.update(meeting.wait_for_all(store, timeout))
    store.set_timeout(timeout)
    _store = store


def _start_anew() -> None:
    """Forgets a group that somebody else has left, who has then started other processes that meet elsewhere."""
    global _store, _runs, _joined
    _store, _runs, _joined = None, 0, 0
    members.clear()
    _connections.clear()


def join_group(backend: str, rank: int, world_size: int, timeout: timedelta) -> None:
    """Makes this process one of the group of those that have met.

    Args:
        backend: ``"gloo"``, ``"nccl"``, or another of ``torch.distributed``.
        rank: This process's number.
        world_size: The number of processes.
        timeout: How long a collective may take.
    """
    global _joined
    if distributed.is_initialized():
        return
    inner = distributed.PrefixStore(f"default_pg/{_joined}", _store)
    before = sockets()
    distributed.init_process_group(backend, store=inner, rank=rank, world_size=world_size, timeout=timeout)
    if backend == "gloo":
        _connections.update({one: inode for one, inode in sockets().items() if before.get(one) != inode})
    _joined += 1
    atexit.register(leave_group)
    atexit.register(_say_that_it_ends, os.getpid(), rank)  # before the group is left


def _say_that_it_ends(pid: int, rank: int) -> None:
    """Puts it into the news of a run that the others may begin later: this process may wait long for those it started.

    Only where the store is there for sure.
    """
    store_stays = is_torchruns() or (rank in members and members[rank].owns_store)
    if os.getpid() != pid or _given_up or _store is None or not store_stays:
        return
    error = getattr(sys, "last_value", None)
    if error is None:
        fault = Fault(rank, "left", "Its program has come to its end.")
    else:
        fault = fault_of(error, rank)
        record_error(error)
    with _board_of_next_run(rank) as board:
        board.say("fault", fault=fault.as_dict())
        board.note("seen", 1)  # nobody has to wait for it, or to end it


@contextmanager
def _board_of_next_run(rank: int) -> Iterator[Board]:
    board = Board(distributed.PrefixStore(f"fulmen/{_runs + 1}", _store), rank)
    board.start()
    try:
        yield board
    except (NoAnswer, StoreLost):
        pass  # who needs to know finds it out in another way
    finally:
        board.stop()


def leave_group() -> None:
    """Leaves the group, where that has not been done."""
    global _store
    _store = None
    if not distributed.is_initialized():
        return
    if _given_up and "nccl" in distributed.get_backend():  # an orderly end waits for work that nobody does any more
        distributed.distributed_c10d._abort_process_group()
    else:
        distributed.destroy_process_group()


def leave_in_order() -> None:
    """Leaves the group after a run that went well; the process in which the store lives waits for the others."""
    if _store is not None and distributed.is_initialized() and 0 in members and members[0].owns_store:
        store = distributed.PrefixStore("fulmen/leaving", _store)
        if distributed.get_rank() != 0:
            store.add("left", 1)
        deadline = time.monotonic() + _PATIENCE
        while distributed.get_rank() == 0 and store.add("left", 0) < distributed.get_world_size() - 1:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
    leave_group()


def give_up() -> None:
    """Takes note that a run has failed, so that nobody can know what the others of this group do next."""
    global _given_up
    _given_up = True


def break_off() -> None:
    """Ends the connections of a group that has failed: a program that goes on must not keep the others waiting."""
    if _given_up and _connections:
        shut(_connections, int(os.environ.get("MASTER_PORT", 0)))
        _connections.clear()


def explain(error: Exception, rank: int, call: str) -> PeerFailed | None:
    """What an error is that comes from a process which has ended between two runs, where nobody looks after them.

    Args:
        error: What a collective has raised.
        rank: This process's number.
        call: The method of the Trainer that it called.

    Returns:
        None if it is another error, or the process lives or cannot be seen from here.
    """
    if not is_of_a_broken_connection(error) or rank not in members:
        return None
    deadline = time.monotonic() + _CLOSED
    while (fault := _who_is_gone(rank)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if fault is None:
        return None
    text = f"Rank {rank} is in `{call}`. On rank {fault.rank}: {fault.text}"
    return PeerFailed(replace(fault, text=text), len(members))


def _who_is_gone(rank: int) -> Fault | None:
    found: list[Fault] = []
    if _store is not None:
        with _board_of_next_run(rank) as board:
            found += [Fault(**event["fault"]) for event in board.news()]
    for other, one in members.items():
        ended = how_it_ended(one) if one.host == members[rank].host and other != rank else None
        if ended is not None:
            found.append(Fault(other, *ended))
    return found[0] if found else None


def store_of_run() -> Any:
    """A part of the group's store that belongs to one run; every process has to ask once a run."""
    global _runs
    _runs += 1
    return distributed.PrefixStore(f"fulmen/{_runs}", _whole_store())


def store_within_run(name: str) -> Any:
    """A part of that, for something of which not every process has to know.

    Args:
        name: Nobody else's.
    """
    return distributed.PrefixStore(f"fulmen/{_runs}/{name}", _whole_store())


def _whole_store() -> Any:
    return _store if _store is not None else distributed.distributed_c10d._get_default_store()


def default_backend(device: torch.device) -> str:
    """The backend for a kind of device."""
    return str(distributed.get_default_backend_for_device(device))
