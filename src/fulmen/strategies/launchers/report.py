"""How a process tells the one that started it what became of it, and what that one makes of all reports."""

from __future__ import annotations

import signal
import time
import traceback
from dataclasses import dataclass, field

# A traceback may be of any length; its end says most.
_LONGEST = 20_000
# What errors say whose cause is another process that is gone.
_FOLLOWED = ("connection closed by peer", "connection reset by peer", "broken pipe", "socket closed", "remote process")

# Exit codes of a process that a signal has asked to end, and that did so.
_ASKED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclass
class Report:
    """How a process came to its end.

    Attributes:
        rank: Its rank.
        pid: Its process.
        kind: ``"done"``, ``"exception"``, ``"exit"`` (it raised ``SystemExit``, or Ctrl-C came), or ``"gone"`` (it
            ended without a word).
        text: A traceback.
        code: Its exit code; of a signal the number, negative.
        followed: Whether it only followed another that had failed.
        when: When it was, on the clock that all processes of a machine share.
    """

    rank: int
    pid: int
    kind: str = "done"
    text: str = ""
    code: int = 0
    followed: bool = False
    when: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, error: BaseException, rank: int, pid: int) -> Report:
        """The report of a process that ends with an error.

        Args:
            error: The error.
            rank: The process's rank.
            pid: Its number.
        """
        trace = error.__traceback__
        error.__traceback__ = trace.tb_next if trace else None  # the first frame is that of the worker
        text = "".join(traceback.format_exception(error))
        text = text if len(text) <= _LONGEST else f"...{text[-_LONGEST:]}"
        if isinstance(error, KeyboardInterrupt):
            return cls(rank, pid, "exit", text, 128 + signal.SIGINT)
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            return cls(rank, pid, "exit", text, code)
        return cls(rank, pid, "exception", text, 1, _has_followed(error))

    @property
    def is_calm(self) -> bool:
        """Whether it ended as it should, or because a signal had asked for it."""
        return self.kind == "done" or (self.kind == "exit" and self.code in _ASKED)

    @property
    def headline(self) -> str:
        """What happened, as one sentence."""
        if self.kind == "exception":
            return f"Rank {self.rank} failed"
        if self.kind == "stalled":
            return f"Rank {self.rank} made no progress for too long"
        if self.kind == "lost":
            return f"Rank {self.rank} did not answer any more"
        if self.kind == "exit":
            return f"Rank {self.rank} ended its process with exit code {self.code} before the run was over"
        if self.code < 0:
            return f"Rank {self.rank} is gone: its process (pid {self.pid}) was ended by {self.signal_name}"
        return (
            f"Rank {self.rank} is gone: its process (pid {self.pid}) ended with exit code {self.code}, without a word"
        )

    @property
    def signal_name(self) -> str | None:
        """The signal that ended it, if one did."""
        return signal.Signals(-self.code).name if self.code < 0 else None


def culprit(reports: list[Report]) -> Report | None:
    """Who failed first, if anybody did; those come last who only followed others.

    Args:
        reports: One a process.
    """
    failed = [report for report in reports if report.kind != "done"]
    return min(failed, key=lambda report: (report.followed, report.when), default=None)


def _has_followed(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if hasattr(seen, "fault"):  # what `Peers` raises: it knows who was first
            return True
        if isinstance(seen, (RuntimeError, OSError)) and any(words in str(seen).lower() for words in _FOLLOWED):
            return True
        seen = seen.__cause__
    return False
