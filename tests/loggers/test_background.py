from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import warm

from fulmen.loggers import work
from fulmen.loggers.background import Background, LoggingFailedError
from fulmen.utilities.exceptions import MisconfigurationException


class Backend:
    """Keeps what it is given; can be held, and can fail a number of times."""

    def __init__(self, failures: list[Exception] | None = None) -> None:
        self.written: list[Any] = []
        self.calls: list[list[Any]] = []
        self.threads: set[int] = set()
        self.failures = failures or []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def write(self, records: list[Any]) -> None:
        self.entered.set()
        assert self.open.wait(30)
        self.threads.add(threading.get_ident())
        self.calls.append(list(records))
        if self.failures:
            raise self.failures.pop(0)
        self.written += records

    def one(self, record: Any) -> None:
        self.write([record])


def begun(**options: Any) -> Background:
    machine = Background("Machine", **options)
    machine.begin()
    return machine


@given(st.lists(st.sampled_from(["gather", "other", "submit", "drain"]), max_size=30))
def test_everything_is_done_once_and_in_order(ways: list[str]) -> None:
    backend, machine = Backend(), begun()
    other = Backend()
    other.written = backend.written
    for number, way in enumerate(ways):
        if way == "drain":
            assert machine.drain() == 0
            assert backend.written == [n for n, w in enumerate(ways[:number]) if w != "drain"]
        elif way == "submit":
            machine.submit(backend.one, number)
        else:
            machine.gather((backend if way == "gather" else other).write, number)
    machine.finish()
    assert backend.written == [number for number, way in enumerate(ways) if way != "drain"]
    assert threading.get_ident() not in backend.threads
    assert not machine.is_on


def test_outside_of_a_run_things_are_done_at_once() -> None:
    backend, machine = Backend([OSError("broken")]), Background("Machine")
    with pytest.raises(OSError, match="broken"):
        machine.submit(backend.one, 1)
    machine.submit(backend.one, 2)
    machine.gather(backend.write, 3)
    assert backend.written == [2, 3]
    assert backend.threads == {threading.get_ident()}
    machine.finish()


def test_records_that_wait_are_written_together() -> None:
    backend, machine = Backend(), begun()
    backend.open.clear()
    machine.gather(backend.write, 0)
    assert backend.entered.wait(30)
    for number in range(1, 2500):
        machine.gather(backend.write, number)
    machine.submit(backend.one, "between")
    machine.gather(backend.write, "last")
    assert machine.unwritten == 2502
    backend.open.set()
    machine.finish()
    assert [len(call) for call in backend.calls] == [1, 1000, 1000, 499, 1, 1]
    assert backend.written == [*range(2500), "between", "last"]


def test_a_failure_is_told_once_and_what_follows_is_dropped() -> None:
    backend, machine = Backend([OSError(28, "No space left on device")]), begun()
    machine.place = "/logs"
    backend.open.clear()
    machine.gather(backend.write, 0)
    assert backend.entered.wait(30)
    for number in range(1, 4):
        machine.gather(backend.write, number)
    backend.open.set()
    assert machine.drain() == 0
    with pytest.warns(UserWarning, match="off for the rest of this run") as caught:
        machine.gather(backend.write, 4)
    said = str(caught[0].message)
    assert said.startswith(
        "Machine (/logs) is switched off for the rest of this run, since it could not write: OSError"
    )
    assert "No space left on device\n5 records were not written" in said
    machine.submit(backend.one, 5)
    assert machine.drain() == 0
    assert (machine.unwritten, machine.has_failed) == (6, True)
    machine.finish()
    assert backend.calls == [[0]]
    machine.begin()
    machine.submit(backend.one, 6)
    machine.finish()
    assert backend.written == [6], "the next run begins anew"


def test_a_failure_is_raised_once_where_that_was_asked_for() -> None:
    backend, machine = Backend([OSError("broken")]), begun(on_failure="raise")
    machine.submit(backend.one, 0)
    machine.drain()
    with pytest.raises(LoggingFailedError, match="leave out `on_failure") as caught:
        machine.submit(backend.one, 1)
    assert "2 records were not written" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    machine.submit(backend.one, 2)
    machine.finish()


@pytest.mark.parametrize("may_raise", [True, False])
def test_the_end_of_a_run_tells_of_a_failure_that_nobody_has_heard_of(may_raise: bool) -> None:
    backend, machine = Backend([OSError("broken")]), begun(on_failure="raise")
    machine.submit(backend.one, 0)
    with (
        pytest.raises(LoggingFailedError) if may_raise else pytest.warns(UserWarning, match="1 record was not written")
    ):
        machine.finish(may_raise)
    assert not machine.is_on


def test_what_may_pass_is_tried_again_and_what_was_written_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "FIRST_PAUSE", 0.001)
    machine = begun(retry_on=lambda error: isinstance(error, ConnectionError))
    sent: list[Any] = []
    errors: list[Exception] = [ConnectionError("a"), ConnectionError("b"), ValueError("c")]

    def send(records: list[int]) -> None:
        while records:
            if len(sent) in (2, 4, 6) and errors and (6 - 2 * len(errors)) + 2 == len(sent):
                raise errors.pop(0)
            sent.append(records[0])
            del records[0]

    hold = threading.Event()
    machine.submit(hold.wait, 30, records=0)
    for number in range(10):
        machine.gather(send, number)
    hold.set()
    machine.drain()
    assert sent == [0, 1, 2, 3, 4, 5], "the third error is none that passes"
    assert machine.unwritten == 4
    with pytest.warns(UserWarning, match="4 records were not written"):
        machine.finish()


def test_tries_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "FIRST_PAUSE", 0.001)
    backend = Backend([ConnectionError(str(number)) for number in range(9)])
    machine = begun(retry_on=lambda _: True, tries=3)
    machine.submit(backend.one, 0)
    with pytest.warns(UserWarning, match="ConnectionError: 2"):
        machine.finish()
    assert len(backend.calls) == 3


def test_the_end_of_a_run_waits_for_so_long_and_says_what_is_left() -> None:
    backend, machine = Backend(), begun(drain_timeout=0.05)
    backend.open.clear()
    for number in range(3):
        machine.submit(backend.one, number)
    with pytest.warns(UserWarning, match=r"Machine has not written 3 records, after 0\.\d seconds"):
        machine.finish()
    machine.begin()
    machine.submit(backend.one, 3)
    backend.open.set()
    machine.drain(30)
    machine.finish()
    assert backend.written == [0, 1, 2, 3], "what was left is written where there is time, and in order"


def test_a_ctrl_c_while_waiting_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, machine = Backend(), begun()
    backend.open.clear()
    machine.submit(backend.one, 0)

    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(machine._work, "wait", interrupt)
        with pytest.warns(UserWarning, match="1 record,"), pytest.raises(KeyboardInterrupt):
            machine.finish()
    backend.open.set()


def test_a_queue_that_only_grows_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from fulmen.loggers import background

    monkeypatch.setattr(work, "WAITING", 5)
    monkeypatch.setattr(background, "WAITING", 5)
    backend, machine = Backend(), begun()
    backend.open.clear()
    with pytest.warns(UserWarning, match=r"Log less often: `Trainer\(log_every_n_steps") as caught:
        for number in range(9):
            machine.submit(backend.one, number)
    assert len(caught) == 1
    backend.open.set()
    assert machine.drain() == 0
    machine.submit(backend.one, 9)
    machine.finish()
    assert backend.written == [0, 1, 2, 3, 4, 9]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda machine: pickle.loads(pickle.dumps(machine))])
def test_a_copy_has_nothing_to_do(clone: Any) -> None:
    backend, machine = Backend(), begun(drain_timeout=7)
    backend.open.clear()
    machine.submit(backend.one, 0)
    other = clone(machine)
    assert (other.is_on, other.unwritten, other.drain_timeout) == (False, 0, 7.0)
    other.begin()
    other.submit(list)
    other.finish()
    backend.open.set()
    machine.finish()
    assert backend.written == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_leaves_its_parent_s_work_to_it() -> None:
    backend, machine = Backend(), begun()
    backend.open.clear()
    machine.submit(backend.one, 0)
    child = os.fork()
    if child == 0:
        machine.submit(lambda: None)
        machine.finish()
        os._exit(0 if not machine.is_on and backend.written == [] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    backend.open.set()
    machine.finish()
    assert backend.written == [0]


def test_the_thread_ends_with_its_logger() -> None:
    before = threading.active_count()

    class Owner:
        def __init__(self) -> None:
            self.machine = begun()

        def write(self, records: list[Any]) -> None:
            pass

    owner = Owner()
    owner.machine.gather(owner.write, 1)
    owner.machine.drain()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    for _ in range(1000):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert gone() is None
    assert threading.active_count() <= before


def test_waiting_in_the_background_for_the_background_does_not_wait() -> None:
    machine = begun()
    found: list[Any] = []
    machine.submit(lambda: found.append((machine.drain(), machine.is_own_thread())))
    machine.finish()
    assert found == [(1, True)]


def test_a_rest_ends_when_somebody_waits() -> None:
    machine = begun(drain_timeout=60)
    machine.submit(machine.rest, 50)
    assert machine.drain(20) == 0
    machine.finish()


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"on_failure": "stop"}, 'on_failure="raise"'),
        ({"drain_timeout": -1}, "Pass 0"),
        ({"drain_timeout": float("nan")}, "Pass 0"),
        ({"drain_timeout": "60"}, "Pass 0"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        Background("Machine", **options)


@pytest.mark.parametrize("patience", [30, 0.1])
def test_a_program_that_ends_in_the_middle_still_writes(patience: float) -> None:
    code = f"""
import time
from fulmen.loggers.background import Background
machine = Background("Machine", drain_timeout={patience})
machine.begin()
def write(records):
    time.sleep(0.4)
    print("wrote", records, flush=True)
machine.gather(write, 1)
machine.gather(write, 2)
"""
    done = warm.run(code, cwd=Path.cwd())
    assert done.returncode == 0
    if patience > 1:
        assert "2]" in done.stdout
        assert done.stderr == ""
    else:
        assert "has not written 2 records, and the program ends" in done.stderr


def test_no_warning_comes_from_a_good_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = begun()
        machine.submit(list)
        machine.report()
        machine.finish()
        machine.finish()


def test_what_is_left_at_the_end_is_raised_where_that_was_asked_for() -> None:
    backend, machine = Backend(), begun(drain_timeout=0.05, on_failure="raise")
    backend.open.clear()
    machine.submit(backend.one, 0)
    with pytest.raises(LoggingFailedError, match=r"has not written 1 record(.|\n)*Pass a longer `drain_timeout`"):
        machine.finish()
    machine.finish()
    machine.begin()
    with pytest.warns(UserWarning, match="has not written 1 record"):
        machine.finish(may_raise=False)
    backend.open.set()


def test_what_does_not_move_is_not_waited_for_as_long_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.loggers.background._SHORT_WAIT", 0.05)
    backend, machine = Backend(), begun(drain_timeout=0.1)
    backend.open.clear()
    machine.submit(backend.one, 0)
    with pytest.warns(UserWarning, match="has not written 1 record,"):
        machine.finish()
    machine.drain_timeout = 1000.0  # a wait of this length would be the end of the test
    machine.begin()
    machine.submit(backend.one, 1)
    assert machine.patience == 0.05
    assert machine.drain() == 2
    with pytest.warns(UserWarning, match="has not written 2 records"):
        machine.finish()
    machine.begin()
    backend.open.set()
    machine.drain(30)
    assert machine.patience == 1000
    machine.finish()
    assert backend.written == [0, 1]
    assert not machine.is_on


def test_what_fails_after_the_end_of_a_run_is_said_and_the_next_run_begins_anew() -> None:
    backend, machine = Backend([OSError("broken")]), begun(drain_timeout=0.05)
    backend.open.clear()
    machine.submit(backend.one, 0)
    with pytest.warns(UserWarning, match="has not written 1 record"):
        machine.finish()
    backend.open.set()
    machine.drain(30)
    with pytest.warns(UserWarning, match="could not write 1 record of an earlier run: OSError: broken"):
        machine.begin()
    machine.submit(backend.one, 1)
    machine.finish()
    assert backend.written == [1]


def test_after_a_failed_run_the_next_tries_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "FIRST_PAUSE", 0.001)
    backend = Backend([ConnectionRefusedError() for _ in range(20)])
    machine, calls = begun(retry_on=lambda error: True), []
    for _ in range(2):
        machine.begin()
        machine.submit(backend.one, 0)
        with pytest.warns(UserWarning, match="1 record was not written"):
            machine.finish()
        calls.append(len(backend.calls))
    assert calls == [5, 7]


def test_an_item_that_cannot_be_encoded_is_left_out_and_a_full_disk_is_a_failure() -> None:
    backend, machine = Backend(), begun()

    def encode(error: Exception) -> None:
        raise error

    def write(error: Exception) -> None:
        if machine.encoded("clip", "audio", encode, error) is not None:
            backend.one("never")

    with pytest.warns(UserWarning, match="left out the audio that was logged as 'clip'.*no such sound") as caught:
        for _ in range(2):
            machine.submit(write, ValueError("no such sound"))
        machine.submit(backend.one, 1)
        machine.finish()
    assert len(caught) == 1, "one for each key"
    assert backend.written == [1]
    with pytest.raises(ValueError, match="no such sound"):
        write(ValueError("no such sound"))
    machine.begin()
    machine.submit(write, OSError(28, "No space left on device"))
    with pytest.warns(UserWarning, match="switched off"):
        machine.finish()
