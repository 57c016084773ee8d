"""Saving while training goes on: what waits for what, what is raised where, and what a killed process leaves."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import warm

from fulmen.checkpoint.async_io import AsyncCheckpointIO, CheckpointNotSavedError
from fulmen.checkpoint.io import CheckpointIO, TorchCheckpointIO, join, poll, when_saved
from fulmen.checkpoint.wrapping import _WrappingCheckpointIO
from fulmen.utilities.exceptions import MisconfigurationException


class Slow(TorchCheckpointIO):
    """Writes only while its gate is open, or fails with what it is told to."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self.failure: BaseException | None = None
        self.threads: list[threading.Thread] = []
        self.ended = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.gate.wait(60)
        if self.failure is not None:
            raise self.failure
        super().save_checkpoint(checkpoint, path, storage_options)

    def teardown(self) -> None:
        self.ended = True


def saved(path: Any) -> Any:
    return torch.load(path, weights_only=True)


def test_saving_returns_before_the_file_is_there() -> None:
    slow = Slow()
    io = AsyncCheckpointIO(slow)
    weight = torch.ones(2)
    io.save_checkpoint({"w": weight}, "folder/a.ckpt")
    assert slow.begun.wait(60)
    weight.zero_()
    io.poll()
    assert not os.path.exists("folder/a.ckpt")
    slow.gate.set()
    io.join()
    assert saved("folder/a.ckpt")["w"].tolist() == [1, 1]
    (thread,) = slow.threads
    assert thread is not threading.main_thread() and not thread.daemon


def test_a_second_save_waits_for_the_first() -> None:
    slow = Slow()
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({"n": 1}, "a.ckpt")
    opener = threading.Timer(0.2, slow.gate.set)
    opener.start()
    io.save_checkpoint({"n": 2}, "b.ckpt")
    assert slow.gate.is_set() and saved("a.ckpt") == {"n": 1}
    io.teardown()
    assert saved("b.ckpt") == {"n": 2} and slow.ended
    opener.join()


def test_memory_is_not_used_again_while_it_is_written() -> None:
    """The second save may take the memory of the first only when that is on disk."""
    io = AsyncCheckpointIO()
    weight = torch.empty(1_000_000)
    for n in range(8):
        io.save_checkpoint({"w": weight.fill_(n)}, f"{n}.ckpt")
    io.join()
    assert all(bool((saved(f"{n}.ckpt")["w"] == n).all()) for n in range(8))


def test_what_a_writer_keeps_is_not_changed() -> None:
    class InMemory(CheckpointIO):
        def __init__(self) -> None:
            self.files: dict[str, Any] = {}

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            self.files[path] = checkpoint

        def load_checkpoint(self, path: Any) -> Any:  # type: ignore[override] # fewer arguments, as some have
            return self.files[path]

        def remove_checkpoint(self, path: Any) -> None:
            del self.files[path]

    io = AsyncCheckpointIO(InMemory())
    for n in range(3):
        io.save_checkpoint({"w": torch.full((3,), n)}, f"{n}")
    assert [io.load_checkpoint(f"{n}")["w"][0].item() for n in range(3)] == [0, 1, 2]


def test_loading_and_removing_wait() -> None:
    slow = Slow()
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({"n": 1}, "a.ckpt")
    io.remove_checkpoint("other.ckpt")  # waits for nothing: the gate is shut
    threading.Timer(0.1, slow.gate.set).start()
    assert io.load_checkpoint("a.ckpt", weights_only=True, map_location="cpu") == {"n": 1}
    slow.gate.clear()
    io.save_checkpoint({"n": 2}, "b.ckpt")
    threading.Timer(0.1, slow.gate.set).start()
    io.remove_checkpoint(Path("b.ckpt"))
    assert os.listdir() == ["a.ckpt"]
    slow.gate.set()


# What waits for a file


def test_listeners_hear_on_this_thread_in_order_and_after_the_rename() -> None:
    slow = Slow()
    io = AsyncCheckpointIO(slow)
    heard: list[Any] = []

    def listener(name: Any) -> Any:
        return lambda: heard.append((name, os.path.exists("a.ckpt"), threading.current_thread()))

    io.save_checkpoint({}, "a.ckpt")
    for name in range(3):
        io.when_saved(os.path.abspath("a.ckpt"), listener(name), if_failed=lambda: heard.append("failed"))
    io.when_saved("earlier.ckpt", lambda: heard.append("at once"))
    io.poll()
    assert heard == ["at once"]
    slow.gate.set()
    io._flight.wait()  # type: ignore[union-attr]
    assert heard == ["at once"]
    io.poll()
    assert heard[1:] == [(name, True, threading.main_thread()) for name in range(3)]
    io.when_saved("a.ckpt", listener("late"))
    assert heard[4] == ("late", True, threading.main_thread())


def test_nobody_hears_of_a_file_that_failed() -> None:
    slow = Slow()
    slow.failure = OSError(28, "No space left on device")
    slow.gate.set()
    io = AsyncCheckpointIO(slow)
    heard: list[str] = []
    io.save_checkpoint({}, "a.ckpt")
    for n in range(2):
        io.when_saved("a.ckpt", lambda: heard.append("saved"), lambda n=n: heard.append(f"failed {n}"))  # type: ignore[misc]
    with pytest.raises(CheckpointNotSavedError):
        io.join()
    assert heard == ["failed 1", "failed 0"]
    io.when_saved("a.ckpt", lambda: heard.append("late"))
    assert len(heard) == 2
    slow.failure = None
    io.save_checkpoint({}, "a.ckpt")
    io.when_saved("a.ckpt", lambda: heard.append("saved now"))
    io.join()
    assert heard[2:] == ["saved now"]


def test_an_action_that_fails_leaves_the_others_for_the_next_time() -> None:
    io = AsyncCheckpointIO()
    heard: list[int] = []
    io.save_checkpoint({}, "a.ckpt")
    io._flight.wait()  # type: ignore[union-attr]
    io.when_saved("a.ckpt", lambda: heard.append(1))
    io.when_saved("a.ckpt", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    io.when_saved("a.ckpt", lambda: heard.append(2))
    with pytest.raises(ZeroDivisionError):
        io.join()
    io.poll()
    assert heard == [1, 2]


@pytest.mark.parametrize("wrap", [lambda io: io, _WrappingCheckpointIO, AsyncCheckpointIO])
def test_others_act_at_once(wrap: Any) -> None:
    class Duck:
        """Knows nothing of all this."""

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            pass

        def teardown(self) -> None:
            pass

    for inner in (TorchCheckpointIO(), Duck()):
        io, heard = wrap(inner), []
        io.save_checkpoint({}, "a.ckpt")
        when_saved(io, "a.ckpt", lambda heard=heard: heard.append(1))
        poll(io)
        join(io)
        assert heard == [1]
        io.teardown()


def test_a_wrapper_hands_everything_on() -> None:
    slow = Slow()
    io = _WrappingCheckpointIO(AsyncCheckpointIO(slow))
    heard: list[int] = []
    io.save_checkpoint({"n": 1}, "a.ckpt")
    io.when_saved("a.ckpt", lambda: heard.append(1))
    io.poll()
    assert heard == []
    slow.gate.set()
    io.join()
    assert heard == [1] and io.load_checkpoint("a.ckpt") == {"n": 1}
    io.remove_checkpoint("a.ckpt")
    io.teardown()
    assert slow.ended and not os.listdir()
    io.checkpoint_io = TorchCheckpointIO()
    assert isinstance(io.checkpoint_io, TorchCheckpointIO)


# Failure


@pytest.mark.parametrize("next_call", ["save", "load", "join", "poll", "remove", "teardown"])
def test_a_failure_is_raised_once_with_its_cause(next_call: str) -> None:
    slow = Slow()
    slow.failure = OSError(28, "No space left on device")
    slow.gate.set()
    io = AsyncCheckpointIO(slow)
    io.save_checkpoint({}, "a.ckpt")
    io._flight.wait()  # type: ignore[union-attr]
    calls = {
        "save": lambda: io.save_checkpoint({}, "b.ckpt"),
        "load": lambda: io.load_checkpoint("b.ckpt"),
        "join": io.join,
        "poll": io.poll,
        "remove": lambda: io.remove_checkpoint("a.ckpt"),
        "teardown": io.teardown,
    }
    with pytest.raises(CheckpointNotSavedError, match=r"(?s)a\.ckpt.*No space left.*What to do: .*ckpt_path") as caught:
        calls[next_call]()
    assert caught.value.__cause__ is slow.failure
    assert slow.ended == (next_call == "teardown")
    io.join()
    assert not os.listdir()


def test_what_cannot_be_copied_is_saved_at_once_or_refused_at_once() -> None:
    class Counting(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            Path(path).write_text(str(len(checkpoint)))

    AsyncCheckpointIO(Counting()).save_checkpoint({"bad": lambda: 1}, "a.ckpt")
    assert Path("a.ckpt").read_text() == "1"
    with pytest.raises(MisconfigurationException, match=r"'bad'.*\n.*on_save_checkpoint"):
        AsyncCheckpointIO().save_checkpoint({"good": 1, "bad": lambda: 1}, "b.ckpt")


def test_writes_on_this_thread_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    io = AsyncCheckpointIO()
    io.save_checkpoint({"n": 1}, "a.ckpt")
    assert saved("a.ckpt") == {"n": 1}
    io.join()


# Processes


def python(code: str) -> subprocess.CompletedProcess[str]:
    return warm.run("import warnings; warnings.simplefilter('ignore')\n" + code, cwd=Path.cwd())


SLOW = """
import os, sys, time
from fulmen.checkpoint.async_io import AsyncCheckpointIO
from fulmen.checkpoint.io import TorchCheckpointIO
class Slow(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        time.sleep(0.5)
        super().save_checkpoint(checkpoint, path, storage_options)
io = AsyncCheckpointIO(Slow())
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyError"])
def test_a_process_ends_only_when_its_file_is_there(end: str) -> None:
    code = "io.save_checkpoint({'n': 1}, 'a.ckpt'); io.when_saved('a.ckpt', lambda: print('saved'))\n" + end
    ended = python(SLOW + code)
    assert ended.returncode == {"": 0, "sys.exit(3)": 3, "raise KeyError": 1}[end]
    assert ended.stdout == "saved\n" and saved("a.ckpt") == {"n": 1}


def test_a_process_says_what_nobody_waited_for() -> None:
    Path("taken").touch()
    ended = python(
        SLOW + "io.save_checkpoint({'n': 1}, 'taken/a.ckpt'); io.when_saved('taken/a.ckpt', lambda: print(1))"
    )
    assert "What to do" in ended.stderr and "taken/a.ckpt" in ended.stderr and ended.stdout == ""


def test_a_fork_does_nothing_for_the_file_of_its_parent() -> None:
    """It cannot tell whether the file is there, and must not remove the one before it."""
    code = """
io.save_checkpoint({'n': 1}, 'a.ckpt')
io.when_saved('a.ckpt', lambda: print(os.getpid() == parent, flush=True))
parent = os.getpid()
if os.fork() == 0:
    io.join(); io.poll(); io.save_checkpoint({'n': 2}, 'b.ckpt'); io.join(); sys.exit(0)
assert os.wait()[1] == 0
io.join()
"""
    ended = python(SLOW + code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "True\n"
    assert saved("a.ckpt") == {"n": 1} and saved("b.ckpt") == {"n": 2}
