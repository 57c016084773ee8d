"""What is told of a failure."""

from __future__ import annotations

import pickle

import pytest

from fulmen.strategies.peers.faults import (
    Fault,
    PeerFailed,
    add_note,
    fault_of,
    is_of_a_broken_connection,
    is_the_same,
)


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("exception", "Mend the error of rank 1 below"),
        ("exit", "Let every rank end the run"),
        ("killed", "whether memory ran out"),
        ("left", "without `if trainer.is_global_zero`"),
        ("stalled", "stall_timeout"),
        ("lost", "whether that host is up"),
    ],
)
def test_it_says_who_and_what_to_do(kind: str, remedy: str) -> None:
    text = str(PeerFailed(Fault(1, kind, "last line"), 4))
    assert text.startswith("Rank 1 of 4 ")
    assert remedy in text.splitlines()[1]
    assert text.endswith("last line")


def test_a_request_to_end_is_no_matter_of_memory() -> None:
    text = str(PeerFailed(Fault(1, "killed", "Process 7 was killed by SIGTERM."), 2))
    assert text.startswith("Rank 1 of 2 is gone: its process was ended by SIGTERM.")
    assert "who has asked that process to end" in text.splitlines()[1]
    assert "dmesg" in str(PeerFailed(Fault(1, "killed", "Process 7 was killed by SIGKILL."), 2))


def test_a_stall_that_is_nobodys() -> None:
    text = str(PeerFailed(Fault(-1, "stalled", ""), 2))
    assert text.startswith("The group, whose ranks wait for each other, makes no progress")


def test_a_store_of_no_rank() -> None:
    assert str(PeerFailed(Fault(-1, "lost", ""), 2)).startswith(
        "The store that the ranks agree through does not answer"
    )


def test_it_can_be_sent_to_another_process() -> None:
    error = PeerFailed(Fault(1, "exit", "text"), 4)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fault) == (str(error), error.fault)


def test_of_a_long_traceback_the_end_is_kept() -> None:
    fault = fault_of(_raised(ValueError("x" * 100_000 + "the end")), 0)
    assert fault.text.rstrip().endswith("the end")
    assert len(fault.text) < 30_000


def test_an_exit_says_its_code() -> None:
    fault = fault_of(_raised(SystemExit(7)), 2)
    assert (fault.rank, fault.kind) == (2, "exit")
    assert fault.text.startswith("SystemExit with the code 7.")


@pytest.mark.parametrize(
    ("error", "is_broken"),
    [
        (RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), True),
        (ConnectionResetError("Connection reset by peer"), True),
        (
            RuntimeError("[enforce fail at gloo/transport/tcp/pair.cc:456] op.preamble.length <= op.nbytes"),
            False,
        ),
        (ValueError("connection closed by peer"), False),
        (RuntimeError("CUDA out of memory"), False),
    ],
)
def test_a_broken_connection_is_nobodys_own_mistake(error: Exception, is_broken: bool) -> None:
    assert is_of_a_broken_connection(error) == is_broken
    wrapped = RuntimeError("a hook failed")
    wrapped.__cause__ = error
    assert is_of_a_broken_connection(wrapped) == is_broken


def test_the_same_error_on_another_rank() -> None:
    fault = fault_of(_raised(ValueError("the mistake")), 1)
    assert is_the_same(ValueError("the mistake"), fault)
    assert not is_the_same(ValueError("mistake"), fault)
    assert not is_the_same(KeyError("the mistake"), fault)


def test_a_note_is_added_once() -> None:
    error = ValueError("mistake")
    add_note(error, "on rank 1 of 2")
    add_note(error, "on rank 1 of 2")
    assert error.__notes__ == ["on rank 1 of 2"]  # type: ignore[attr-defined]
