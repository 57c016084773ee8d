"""What may happen in a group of processes: each function is what every rank of one group does."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from fulmen.strategies.peers.peers import Peers
from fulmen.utilities.exceptions import SIGTERMException

STEPS = 5


class Rank:
    """One rank of a group, in a process of its own."""

    def __init__(self, name: str, number: int, world_size: int, folder: Path, **options: Any) -> None:
        self.number, self.world_size, self.folder, self.name = number, world_size, folder, name
        port = folder / f"{name}.port"
        if number == 0:
            self.store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
            (folder / f"{name}.part").write_text(f"{self.store.port} {os.getpid()}")
            os.replace(folder / f"{name}.part", port)
        else:
            while not port.exists():
                time.sleep(0.01)
            self.store = dist.TCPStore("127.0.0.1", int(port.read_text().split()[0]), None, False)
        self.pid_of_first = int(port.read_text().split()[1])
        self.peers = Peers(dist.PrefixStore("peers", self.store), number, world_size, owns_store=number == 0, **options)

    def meet(self, what: Any) -> None:
        """A collective: who waits in it runs no Python code until all are there."""
        self.store.set(f"{what}/{self.number}", "")
        self.store.wait([f"{what}/{rank}" for rank in range(self.world_size)], timedelta(seconds=300))

    def train(self, steps: int = STEPS, lockstep: bool = True, pause: float = 0.0) -> str:
        for step in range(1, steps + 1):
            if lockstep:
                self.meet(step)
            time.sleep(pause)
            if reason := self.peers.gate((step, 0)):
                print(f"stopped at {step}: {reason}", flush=True)
                return reason
        return ""

    def obey_sigterm(self) -> None:
        def note(*_: Any) -> None:
            self.peers.wish_from_signal = "signal:15"

        signal.signal(signal.SIGTERM, note)


def well(rank: Rank) -> None:
    rank.train()
    print("healthy" if rank.peers.healthy() else "not healthy")


def killed(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    rank.meet("end")


def gone(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        os._exit(0)
    rank.meet("end")


def ended(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        sys.exit(3)
    rank.meet("end")


def failed(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        raise ValueError("the mistake")
    rank.meet("end")


def first_failed(rank: Rank) -> None:
    rank.train()
    if rank.number == 0:
        raise ValueError("the mistake")
    rank.meet("end")


def failed_beside_a_gate(rank: Rank) -> None:
    if rank.number == 1:
        raise ValueError("the mistake")
    rank.train(10_000, lockstep=False, pause=0.01)


def all_failed(rank: Rank) -> None:
    rank.train()
    raise ValueError("the mistake")


def broken(rank: Rank) -> None:
    """In torch's own collective, which raises where the other end is gone."""
    import torch

    dist.init_process_group("gloo", store=rank.store, rank=rank.number, world_size=rank.world_size)
    rank.train()
    if rank.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(torch.ones(1))


def store_killed(rank: Rank) -> None:
    rank.train()
    if rank.number == 0:
        time.sleep(0.7)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)


def stalled(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        time.sleep(300)  # the line that is looked for
    with rank.peers.waiting("a barrier"):
        rank.meet("end")


def patient(rank: Rank) -> None:
    with rank.peers.waiting("prepare_data", patient=True) if rank.number == 0 else rank.peers.waiting("a barrier"):
        if rank.number == 0:
            time.sleep(4.5)
        rank.meet("end")


def progress(rank: Rank) -> None:
    for _ in range(35):
        time.sleep(0.1)
        rank.peers.mark()


def asked_to_stop(rank: Rank) -> None:
    rank.obey_sigterm()
    rank.meet("begin")
    if rank.number == 1:
        os.kill(rank.pid_of_first, signal.SIGTERM)
    if rank.train(10_000, pause=0.001) == "signal:15":
        raise SIGTERMException


def asked_to_stop_beside_a_death(rank: Rank) -> None:
    rank.obey_sigterm()
    rank.meet("begin")
    if rank.number == 1:
        os.kill(rank.pid_of_first, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGKILL)
    rank.train(10_000, lockstep=False, pause=0.01)


def asked_to_end_beside_a_death(rank: Rank) -> None:
    """As above, but the main thread sits in a collective."""
    rank.obey_sigterm()
    rank.meet("begin")
    if rank.number == 1:
        os.kill(rank.pid_of_first, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGKILL)
    rank.meet("end")


def asked_to_stop_beside_a_stopped_one(rank: Rank) -> None:
    rank.obey_sigterm()
    rank.meet("begin")
    if rank.number == 1:
        os.kill(rank.pid_of_first, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGSTOP)
    rank.train(10_000, lockstep=False, pause=0.01)


def busy(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        ctypes.PyDLL(None).sleep(3)  # keeps the GIL
    rank.meet("end")


def busy_for_ever(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        ctypes.PyDLL(None).sleep(300)
    rank.meet("end")


def store_stopped(rank: Rank) -> None:
    rank.train()
    assert rank.peers.healthy()  # each knows now which process the other is
    rank.meet("known")
    if rank.number == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(300)


def alone(rank: Rank) -> None:
    """The store has left, and nobody is there to agree with."""
    rank.train()
    if rank.number == 0:
        return
    time.sleep(1.5)
    print(repr(rank.peers.gate((10**9,), "stop")), rank.peers.healthy())
    raise ValueError("the mistake")


def one_is_through(rank: Rank) -> None:
    rank.train()
    if rank.number == 1:
        return
    rank.train(60, lockstep=False, pause=0.02)


def first_is_through(rank: Rank) -> None:
    """With it goes the store."""
    rank.train()
    if rank.number == 0:
        return
    rank.train(60, lockstep=False, pause=0.02)


def forked(rank: Rank) -> None:
    rank.train()
    child = os.fork()
    if child == 0:
        rank.peers.gate((10**9,), "stop")
        rank.peers.fail(ValueError("in a child"))
        rank.peers.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    rank.train(60, lockstep=False, pause=0.02)


def _under_torchrun(rank: Rank) -> Path:
    """Where rank 1 leaves its error."""
    os.environ["TORCHELASTIC_RUN_ID"] = "run"
    os.environ["TORCHELASTIC_ERROR_FILE"] = str(rank.folder / f"{rank.name}.{rank.number}.json")
    return rank.folder / f"{rank.name}.1.json"


def under_torchrun(rank: Rank) -> None:
    """Rank 0 sees whether the error is recorded once it has heard of it."""
    recorded = _under_torchrun(rank)
    rank.train()
    if rank.number == 1:
        raise ValueError("the mistake")
    while rank.peers.culprit is None:
        pass
    print(recorded.exists())
    rank.meet("end")


def under_torchrun_stalled(rank: Rank) -> None:
    recorded = _under_torchrun(rank)
    rank.train()
    if rank.number == 1:
        time.sleep(600)
    with rank.peers.waiting("the end"):
        while not rank.peers._watchdog.all_know:
            time.sleep(0.001)
        print(recorded.exists(), flush=True)
        time.sleep(600)


def all_under_torchrun(rank: Rank) -> None:
    _under_torchrun(rank)
    all_failed(rank)


def again(rank: Rank) -> None:
    """A second run in the same processes."""
    rank.train()
    rank.peers.close()
    rank.peers = Peers(dist.PrefixStore("second", rank.store), rank.number, rank.world_size, owns_store=not rank.number)
    rank.peers.start()
    if rank.number == 1:
        raise ValueError("the second")
    rank.train(10_000, lockstep=False, pause=0.01)


SHORT = {"report_after": 1.0, "end_after": 2.5}
GROUPS: dict[str, tuple[int, dict[str, float]]] = {
    "well": (3, {}), "killed": (2, {}), "gone": (2, {}), "ended": (2, {}), "failed": (3, {}), "first_failed": (3, {}),
    "failed_beside_a_gate": (2, {}), "all_failed": (2, {}), "broken": (2, {}), "store_killed": (3, {}),
    "stalled": (2, SHORT), "patient": (2, SHORT), "progress": (2, SHORT), "asked_to_stop": (3, {}),
    "asked_to_stop_beside_a_death": (2, {}), "asked_to_end_beside_a_death": (2, {}), "busy": (2, {}),
    "one_is_through": (2, {}), "first_is_through": (2, {}), "forked": (2, {}), "under_torchrun": (2, {}),
    "under_torchrun_stalled": (2, SHORT), "all_under_torchrun": (3, {}), "again": (2, {}), "alone": (2, {}),
}  # fmt: skip
LONG: dict[str, tuple[int, dict[str, float]]] = {
    "asked_to_stop_beside_a_stopped_one": (2, {}), "busy_for_ever": (2, SHORT), "store_stopped": (2, SHORT),
}  # fmt: skip


def live(name: str, number: int, world_size: int, folder: Path, options: dict[str, float]) -> int:
    """What a Trainer does around a run. Returns the exit code."""
    rank = Rank(name, number, world_size, folder, **options)
    rank.meet("connected")  # which may take seconds where names are looked up slowly
    rank.peers.start()
    try:
        globals()[name](rank)
        rank.peers.close()
        return 0
    except BaseException as error:
        raised = rank.peers.fail(error)
        rank.peers.close()
        if isinstance(raised, SystemExit):
            traceback.print_exception(raised) if raised.code != 143 else None
            return int(str(raised.code))
        traceback.print_exception(raised)
        return 1


def main(folder: Path, groups: dict[str, tuple[int, dict[str, float]]], limit: float) -> None:
    """Runs all groups at once; writes how each rank has ended, and which were killed after some time."""
    children: dict[int, str] = {}
    for name, (world_size, options) in groups.items():
        for number in range(world_size):
            child = os.fork()
            if child == 0:
                _be(name, number, world_size, folder, options)
            children[child] = f"{name}.{number}"
    codes: dict[str, Any] = {}
    deadline = time.monotonic() + limit
    while len(codes) < len(children) and time.monotonic() < deadline:
        time.sleep(0.05)
        for pid, name in children.items():
            # They stay, so that the others can see how they ended.
            ended = name not in codes and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended:
                codes[name] = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    for pid, name in children.items():
        if name not in codes:
            codes[name] = "hangs"
            os.kill(pid, signal.SIGKILL)
    (folder / "codes.json").write_text(json.dumps(codes))


def _be(name: str, number: int, world_size: int, folder: Path, options: dict[str, float]) -> None:
    code = 99
    with contextlib.suppress(BaseException):
        for stream, kind in ((1, "out"), (2, "err")):
            file = os.open(folder / f"{name}.{number}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(file, stream)
        code = live(name, number, world_size, folder, options)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
