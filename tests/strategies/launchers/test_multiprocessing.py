from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.strategies.launchers.processes import CLEAN, gone, is_gone, pids, run, until
from torch import nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from fulmen.environments.lightning import LightningEnvironment
from fulmen.strategies.launchers import group, worker
from fulmen.strategies.launchers.launcher import _Launcher
from fulmen.strategies.launchers.main_guard import Bootstrap
from fulmen.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from fulmen.utilities.exceptions import MisconfigurationException, SIGTERMException
from fulmen.utilities.parent import follow
from fulmen.utilities.rank_zero import rank_zero_only


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh program whose processes have little patience."""
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    monkeypatch.setattr(group, "_BY_THEMSELVES", 0.2)
    monkeypatch.setattr(group, "_TOLD", 0.2)
    monkeypatch.setattr(group, "_INTERRUPT", 0.2)
    monkeypatch.setattr(worker, "follow", partial(follow, grace=0.0))


def launcher(count: int = 3, start_method: Any = "fork") -> _MultiProcessingLauncher:
    strategy = SimpleNamespace(num_processes=count, num_nodes=1, cluster_environment=LightningEnvironment())
    return _MultiProcessingLauncher(strategy, start_method)


def note_pid() -> int:
    """Writes this process's number down, waits until all three have, and gives its rank."""
    rank = int(os.environ["LOCAL_RANK"])
    part = Path(f"part{rank}")
    part.write_text(str(os.getpid()))
    part.rename(f"pid{rank}")
    pids(3)
    return rank


def sleeper() -> None:
    note_pid()
    time.sleep(60)


def test_every_process_knows_which_it_is() -> None:
    def note(one: int, two: int) -> list[Any]:
        names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
        told = [os.environ[name] for name in names]
        Path(f"told{told[3]}").write_text(repr((told, rank_zero_only.rank, one, two)))  # type: ignore[attr-defined]
        return told

    before = dict(os.environ)
    made = launcher()
    told = made.launch(note, 1, two=2, trainer="anybody")
    assert told[0] == "127.0.0.1" and told[2:] == ["0", "0", "3"]
    for rank in range(3):
        assert eval(Path(f"told{rank}").read_text()) == ([*told[:3], str(rank), "3"], rank, 1, 2)
    assert dict(os.environ) == before
    assert isinstance(made, _Launcher) and made.procs == []


def test_results_come_back() -> None:
    """Also large ones, from the first process, into the one that waits."""
    weights = torch.zeros(1_000_000)

    def train() -> str:
        weights.add_(1 + int(os.environ["LOCAL_RANK"]))
        return "trained"

    def restore(result: dict[str, Any]) -> None:
        weights.copy_(result["weights"])

    assert launcher().launch(train, collect=lambda: {"weights": weights}, restore=restore) == "trained"
    assert bool((weights == 1).all())
    assert launcher(2).launch(train, restore=restore) == "trained"  # nothing was collected


def test_the_first_that_failed_is_named() -> None:
    def work() -> None:
        rank = note_pid()
        if rank == 1:
            time.sleep(0.1)
            raise ValueError("consequence") from RuntimeError("Connection closed by peer")
        if rank == 2:
            time.sleep(0.2)
            raise ValueError("mine")
        time.sleep(60)

    with pytest.raises(ProcessRaisedException) as raised:
        launcher().launch(work)
    text = str(raised.value)
    assert text.startswith("Rank 2 failed, and the run has ended on all 3 processes of this machine.\n\nOn rank 2:\n")
    assert text.endswith("ValueError: mine\n") and "worker.py" not in text
    assert raised.value.error_index == 2
    gone(pids(3))


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL.*whether memory ran out"),
        (lambda: os._exit(0), "ended with exit code 0, without a word"),
        (lambda: sys.exit(3), "ended its process with exit code 3 before .*SystemExit: 3"),
    ],
)
def test_a_process_that_ends_is_named(end: Callable[[], None], how: str) -> None:
    def work() -> None:
        if note_pid() == 1:
            end()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    with pytest.raises(ProcessExitedException, match=f"(?s)Rank 1 .*{how}"):
        launcher().launch(work)
    gone(pids(3))


@pytest.mark.parametrize(
    ("end", "kind"),
    [(partial(sys.exit, 3), SystemExit), (partial(sys.exit, 143), SIGTERMException)],
)
def test_all_may_leave_together(end: Callable[[], None], kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        launcher(2).launch(end)


def hear_signals() -> None:
    """As in a program of its own: packages of other tests bring handlers and masks of theirs into this process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


def program(function: Callable[[], Any]) -> multiprocessing.process.BaseProcess:
    """A program of its own that runs a function in three processes."""

    def main() -> None:
        hear_signals()
        try:
            launcher().launch(function)
        except KeyboardInterrupt:
            os._exit(99)

    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    pids(3)
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 99), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_none_stays_when_the_program_is_told_to_end(number: signal.Signals, code: int) -> None:
    process = program(sleeper)
    os.kill(process.pid or 0, number)
    gone(pids(3))
    process.join(30)
    assert process.exitcode == code


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, SIGTERMException), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_may_come_before_all_have_started(
    number: signal.Signals, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends all, also those that start later, and these have the handlers that a process has."""
    hear_signals()
    earlier = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]

    def work() -> None:
        assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == earlier
        sleeper()

    def start(process: Any, original: Any = multiprocessing.process.BaseProcess.start) -> None:
        original(process)
        if process.name == "rank 1":
            signal.raise_signal(number)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    with pytest.raises(kind) as raised:
        launcher().launch(work)
    assert raised.value.__cause__ is None  # none has failed
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == earlier


def test_a_signal_may_come_to_a_process_that_has_only_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops what has come to a fork by then; the process ends by it all the same."""
    hear_signals()
    needed: list[int] = []

    def fork(original: Any = os.fork) -> int:
        pid: int = original()
        if pid:
            os.kill(pid, signal.SIGTERM)
        return pid

    def kill(self: Any, signum: int, again: bool = True, original: Any = group.Group.kill) -> None:
        needed.extend([signum] * bool(self.running()))
        original(self, signum, again)

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(group.Group, "kill", kill)
    with pytest.raises(ProcessExitedException, match="SIGTERM"):
        launcher(8).launch(time.sleep, 60)
    assert not needed


def test_a_program_that_is_told_twice_waits_no_longer() -> None:
    def work() -> None:
        signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
        note_pid()
        while True:
            time.sleep(0.05)

    process = program(work)
    os.kill(process.pid or 0, signal.SIGTERM)
    until(Path("told").exists)
    time.sleep(0.5)
    assert not any(map(is_gone, pids(3)))  # they save
    os.kill(process.pid or 0, signal.SIGTERM)
    gone(pids(3))
    process.join(30)
    assert process.exitcode == 143


def test_it_works_outside_the_main_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(launcher(2).launch(lambda: 7)))
    thread.start()
    thread.join(30)
    assert found == [7]


def test_a_program_from_a_pipe_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    with pytest.raises(MisconfigurationException, match=r"in no file(.|\n)*Put the code into a file"):
        launcher(2, "spawn").launch(sleeper)


def test_signals_reach_all() -> None:
    made = launcher()
    thread = threading.Thread(target=lambda: (pids(3), made.kill(signal.SIGUSR1)))
    thread.start()
    with pytest.raises(ProcessExitedException, match=r"Rank \d is gone: its process \(pid \d+\) was ended by SIGUSR1"):
        made.launch(sleeper)
    thread.join(30)


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 1)])
        self.layers[0].open_file = threading.Lock()

    def run(self) -> None: ...


def test_a_part_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(TypeError, match=r"(?s)`Holder.layers.0.open_file`, a lock: .*\n.*Make it in `setup`.*\"ddp\"`"):
        launcher(start_method="spawn").launch(Holder().run)
    with pytest.raises(TypeError, match=r"(?s)picklable.*`args\[0\]\[1\]\['key'\]`, a function: .*<lambda>"):
        launcher(start_method="spawn").launch(print, [1, {"key": lambda: None}])


def test_a_result_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(
        ProcessRaisedException, match=r"(?s)Rank 0 failed.*picklable.*\['lock'\]`, a lock.*in `teardown`"
    ):
        launcher(2).launch(lambda: None, collect=lambda: {"lock": threading.Lock()})


def test_a_gpu_that_is_in_use_cannot_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(MisconfigurationException, match=r'(?s)cannot be forked.*restart the kernel.*`strategy="ddp"`'):
        launcher().launch(sleeper)


def test_processes_are_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(MisconfigurationException, match=r'(?s)LightningEnvironment, LOCAL_RANK=1.*`strategy="ddp"`'):
        launcher().launch(sleeper)


def test_ways_to_start() -> None:
    assert launcher(start_method="fork").is_interactive_compatible
    assert not launcher(start_method="spawn").is_interactive_compatible
    with pytest.raises(ValueError, match=r"(?s)thread.*Choose among: .*'spawn'"):
        launcher(start_method="thread")


def test_forks_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP's threads are not forked, and would be waited for."""
    torch.set_num_threads(2)
    try:
        torch.randn(1000, 1000) @ torch.randn(1000, 1000)
        found = launcher(2).launch(lambda: (torch.randn(1000, 1000) @ torch.randn(1000, 1000), torch.get_num_threads()))
    finally:
        torch.set_num_threads(1)
    assert found[1] == 1


SPAWNED = """
import os, sys, torch
from types import SimpleNamespace
from fulmen.environments.lightning import LightningEnvironment
from fulmen.strategies.launchers.main_guard import Bootstrap
from fulmen.strategies.launchers.multiprocessing import _MultiProcessingLauncher

def draw():
    return torch.rand(1).item(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()

def main():
    environment = LightningEnvironment()
    strategy = SimpleNamespace(num_processes=int(sys.argv[2]), num_nodes=1, cluster_environment=environment)
    torch.manual_seed(3)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float64)
    found = _MultiProcessingLauncher(strategy, sys.argv[1]).launch(draw)
    print(found == draw())
"""


def test_a_run_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process comes to the launcher while it imports the program, and leaves a note for who started it."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(RuntimeError, match="if __name__"):
        launcher().launch(sleeper)
    monkeypatch.setenv(Bootstrap.VARIABLE, os.getcwd())
    bootstrap = Bootstrap(os.getcwd())
    bootstrap.check()
    process = multiprocessing.get_context("fork").Process(target=launcher().launch, args=(sleeper,))
    process._inheriting = True  # type: ignore[attr-defined]
    monkeypatch.delattr(multiprocessing.current_process(), "_inheriting")
    process.start()
    process.join(30)
    assert process.exitcode == 1
    with pytest.raises(MisconfigurationException, match=r"(?s)imported.*`if __name__ == \"__main__\": main\(\)`"):
        bootstrap.check()


@pytest.mark.soak
def test_the_program_that_starts_itself_again_is_told() -> None:
    Path("program.py").write_text(f"{SPAWNED}\nmain()")
    done = run("program.py", "spawn", "1")
    assert done.returncode == 1
    assert done.stderr.count("MisconfiguredRun") == 1 and "Traceback" in done.stderr
    assert 'end the file with `if __name__ == "__main__": main()`.' in done.stderr


@pytest.mark.soak
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fresh_processes_go_on_where_the_program_is(method: str) -> None:
    Path("program.py").write_text(f'{SPAWNED}\nif __name__ == "__main__":\n    main()')
    done = run("program.py", method, "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
