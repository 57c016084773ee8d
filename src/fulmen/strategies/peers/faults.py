"""What has gone wrong in a group of processes, and how it is told."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

# A traceback may be of any length; its end says most.
_LONGEST_TEXT = 20_000

# What the backends say where the other end of a connection is gone. An error about what was sent, as of shapes that do
# not match, is none of these: it is the mistake itself.
_BROKEN = (
    "connection closed by peer", "connection reset by peer", "connection was likely closed", "connection refused",
    "broken pipe", "socket closed", "pair closure", "timed out waiting", "wait timeout", "ncclremoteerror",
    "remote process exited", "nccl communicator was aborted",
)  # fmt: skip

_HEADLINES = {
    "exception": "failed",
    "exit": "has ended its process before the run was over",
    "killed": "is gone: its process ended without a word",
    "left": "has ended its program, and takes no part in this run",
    "stalled": "makes no progress, and so nobody does",
    "lost": "does not answer",
}
_REMEDIES = {
    "exception": "Mend the error of rank {rank} below; the other ranks only followed.",
    "exit": "Let every rank end the run, with `trainer.should_stop = True` or an exception, instead of its process.",
    "killed": "See in the system's log (`dmesg`) whether memory ran out on that host, or who killed the process.",
    "left": "Call the same methods of the Trainer on every rank, without `if trainer.is_global_zero`, and let no rank"
    " end its program before. For what one process does alone, use a `Trainer(devices=1)`.",
    "stalled": "See below where each rank waits. Where the work only takes long, pass a longer"
    " `DDPStrategy(stall_timeout=...)` or set FULMEN_STALL_TIMEOUT, in seconds.",
    "lost": "See whether that host is up and its network works, and what its log says last.",
}
# A signal that asks a process to end is sent by a person or by the job's scheduler.
_ASKED_TO_END = "was killed by SIGTERM."
_WHO_ASKED = "See who has asked that process to end: the job's scheduler, a limit of time, or somebody with `kill`."


@dataclass(frozen=True)
class Fault:
    """The failure that ended a group.

    Attributes:
        rank: Whose it was; -1 for that of no rank.
        kind: ``"exception"``, ``"exit"``, ``"killed"``, ``"left"`` (its program has come to its end), ``"stalled"`` or
            ``"lost"``.
        text: What is known of it: a traceback, an exit code, where the ranks were.
    """

    rank: int
    kind: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the store."""
        return asdict(self)


class PeerFailed(RuntimeError):
    """Another process of this run has failed, so the run ends here as well.

    Args:
        fault: What happened, and on which rank.
        world_size: How many ranks there are.

    Attributes:
        fault: As it was given.
    """

    def __init__(self, fault: Fault, world_size: int) -> None:
        super().__init__(fault, world_size)  # so that it can be pickled
        self.fault = fault
        self.world_size = world_size

    def __str__(self) -> str:
        fault = self.fault
        who = f"Rank {fault.rank} of {self.world_size}" if fault.rank >= 0 else "The store that the ranks agree through"
        if fault.rank < 0 and fault.kind == "stalled":
            who = "The group, whose ranks wait for each other,"
        headline = _HEADLINES.get(fault.kind, "failed")
        remedy = _REMEDIES.get(fault.kind, _REMEDIES["exception"]).format(rank=fault.rank)
        if fault.kind == "killed" and _ASKED_TO_END in fault.text:
            headline, remedy = "is gone: its process was ended by SIGTERM", _WHO_ASKED
        lines = [f"{who} {headline}. The run ends on all ranks, and nothing is saved.", f"What to do: {remedy}"]
        if fault.text:
            lines += [f"On rank {fault.rank}:" if fault.kind == "exception" else "What is known:", fault.text.rstrip()]
        return "\n".join(lines)


def fault_of(error: BaseException, rank: int) -> Fault:
    """The fault that an error on this rank is.

    Args:
        error: The error, with its traceback.
        rank: This rank.
    """
    text = "".join(traceback.format_exception(error))
    if len(text) > _LONGEST_TEXT:
        text = f"...{text[-_LONGEST_TEXT:]}"
    if isinstance(error, SystemExit):
        return Fault(rank, "exit", f"SystemExit with the code {error.code!r}.\n{text}")
    return Fault(rank, "exception", text)


def is_of_a_broken_connection(error: BaseException) -> bool:
    """Whether an error, or what caused it, says only that another process is gone.

    Args:
        error: What a collective or the store has raised, or anything else.
    """
    return any(
        isinstance(one, (RuntimeError, OSError)) and any(words in str(one).lower() for words in _BROKEN)
        for one in _chain(error)
    )


def is_the_same(error: BaseException, fault: Fault) -> bool:
    """Whether another rank has failed with just this error, as where a mistake is in the code of all.

    Args:
        error: This rank's error.
        fault: The other's.
    """
    return fault.kind in ("exception", "exit") and fault.text.rstrip().endswith(
        "".join(traceback.format_exception_only(error)).rstrip()
    )


def add_note(error: BaseException, note: str) -> None:
    """Adds a line to what is printed of an error.

    Args:
        error: The error.
        note: The line. Python 3.10 has no such thing; there it is left out of what is printed, and kept with the error.
    """
    if note not in (notes := getattr(error, "__notes__", [])):
        error.__notes__ = [*notes, note]  # what `add_note` of Python 3.11 does


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo.append(one.__cause__)
