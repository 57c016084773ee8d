"""Writing in the background: what is logged costs the training thread no more than a place in a queue."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from fulmen.loggers.work import WAITING, Task, Work
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_warn

OnFailure = Literal["warn", "raise"]
T = TypeVar("T")

# How many seconds to wait for what did not move since the end of an earlier run, and how often to make its call.
_SHORT_WAIT = 1.0
_TRIES_AFTER_FAILURE = 2

_machines: weakref.WeakSet[Background] = weakref.WeakSet()


class LoggingFailedError(MisconfiguredRun):
    """What was logged could not be written; ``__cause__`` says why."""


class Background:
    """Does what a logger has to do, in order, in a thread of its own while a Trainer runs.

    Outside a run, and before `begin`, everything is done at once, in the thread that asks for it, and errors are
    raised there. Within one, `submit` and `gather` only queue. The first failure ends it: one warning says how much
    was not written, and what comes later in the run is dropped. `finish` ends a run.

    A copy, and a process that was forked, has a machine of its own with nothing in it.

    Args:
        name: What messages call the logger.
        on_failure: ``"warn"``, or ``"raise"`` for the error to be raised by the next call in the training thread.
        drain_timeout: How many seconds `finish` waits for what is queued.
        retry_on: Says of an error whether the same call may succeed a little later. It is then made again, so it has
            to be safe to make twice.
        tries: How often a call is made at most.

    Attributes:
        place: Where it writes to, for messages: a folder, an address.

    Raises:
        MisconfigurationException: If `on_failure` or `drain_timeout` has no meaning.
    """

    def __init__(
        self,
        name: str,
        *,
        on_failure: OnFailure = "warn",
        drain_timeout: float = 60.0,
        retry_on: Callable[[Exception], bool] | None = None,
        tries: int = 5,
    ) -> None:
        if on_failure not in ("warn", "raise"):
            raise MisconfiguredValue(
                '`on_failure` is "warn" or "raise".',
                got=on_failure,
                fix='`on_failure="raise"` ends a run with the error.',
            )
        if not isinstance(drain_timeout, (int, float)) or not drain_timeout >= 0:
            raise MisconfiguredValue(
                "`drain_timeout` is a number of seconds, 0 or more.",
                got=drain_timeout,
                fix="Pass 0 to wait for nothing at the end of a run, or leave it out for a minute.",
            )
        self.name = name
        self.place = ""
        self.on_failure = on_failure
        self.drain_timeout = float(drain_timeout)
        self.retry_on = retry_on
        self.tries = tries
        self._failed_before = False
        self._forget()
        _machines.add(self)

    def _forget(self) -> None:
        self._work: Work | None = None
        self._told = False
        self._late = self._full = False
        self._stuck_at: int | None = None
        self._skipped: list[str] = []
        self._skipped_keys: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """From now on, things are done in the background.

        What an earlier run has left is done first; if it has failed since, that is said.
        """
        late, self._late = self._late, False
        if late and self._work is not None:
            self._take_over(self._work)
        if self._work is None:
            self._forget()
            tries = min(self.tries, _TRIES_AFTER_FAILURE) if self._failed_before else self.tries
            self._work = work = Work(self.retry_on, tries)
            weakref.finalize(self, work.close).atexit = False

    def _take_over(self, work: Work) -> None:
        if work.failure is None:
            self._stuck_at = work.done if work.left else None
            return
        lost = f"{_count(work.unwritten, 'record')} of an earlier run"
        self._failed_before = True
        self._work = None
        work.close()
        rank_zero_warn(f"{self._full_name} could not write {lost}: {_reason(work.failure)}")

    @property
    def patience(self) -> float:
        """For how many seconds to wait: `drain_timeout`, or shortly for what has not moved since an earlier run."""
        if self._work is not None and self._work.done == self._stuck_at:
            return min(self.drain_timeout, _SHORT_WAIT)
        return self.drain_timeout

    @property
    def is_on(self) -> bool:
        """Whether things are done in the background at the moment."""
        return self._work is not None

    @property
    def has_failed(self) -> bool:
        """Whether something could not be written in this run, so that all else is dropped."""
        return self._work is not None and self._work.failure is not None

    @property
    def unwritten(self) -> int:
        """How many records of this run were asked for and are not written, yet or at all."""
        return 0 if self._work is None else self._work.unwritten

    def submit(self, function: Callable[..., Any], *args: Any, records: int = 1) -> None:
        """Has a function called, after all that was asked for before.

        Args:
            function: What to call. It must not return before what it writes is in the hands of the system or the
                server.
            *args: Its arguments. Nobody may change them afterwards.
            records: How many records it writes, for messages; 0 for something that writes none.

        Raises:
            LoggingFailedError: If something has failed, the first time that the machine is asked since, and only
                where `on_failure` is ``"raise"``.
        """
        if (work := self._work) is None:
            function(*args)
        elif work.failure is not None:
            work.drop(records)
            self.report()
        elif not work.put(Task(function, args, records)):
            self._say_it_is_full()
        if self._skipped:
            self._tell_skipped()

    def gather(self, function: Callable[[list[Any]], Any], record: Any) -> None:
        """Has a record written, together with those that follow it for the same function, where several wait.

        Args:
            function: What writes a list of records. What it has written, it may take out of the list at once: where
                it then fails, only what is left in the list is tried again, and counted as not written.
            record: The record. Nobody may change it afterwards.

        Raises:
            LoggingFailedError: As by `submit`.
        """
        if (work := self._work) is None:
            function([record])
        elif work.failure is not None:
            work.drop(1)
            self.report()
        elif not work.put(Task(function, record, 1, gathered=True)):
            self._say_it_is_full()

    def drain(self, timeout: float | None = None) -> int:
        """Waits until everything asked for so far is done.

        Args:
            timeout: For how many seconds at most; None for `patience`.

        Returns:
            How many things are not done yet. What is dropped after a failure does not count.
        """
        work = self._work
        return 0 if work is None else work.wait(self.patience if timeout is None else timeout)

    def is_own_thread(self) -> bool:
        """Whether it is the thread in the background that asks."""
        return self._work is not None and self._work.is_own_thread()

    def rest(self, seconds: float) -> None:
        """Lets records gather for a while, unless somebody waits for them.

        Args:
            seconds: How long. For functions that are called in the background; elsewhere, it does nothing.
        """
        if (work := self._work) is not None and work.is_own_thread():
            work.rest(seconds)

    def encoded(self, key: str, kind: str, function: Callable[..., T], *args: Any) -> T | None:
        """What a function makes of one item that was logged, for functions that are called in the background.

        An item that cannot be brought into the backend's form is dropped, with a warning in the training thread, and
        the logger stays on. Outside of a run the error is raised.

        Args:
            key: What the item is logged as.
            kind: What it is.
            function: What to call. It may write to a local folder; what the system refuses then is not the item's.
            *args: Its arguments.

        Returns:
            What the function returns; None where it cannot.
        """
        try:
            return function(*args)
        except Exception as error:
            if self._work is None or isinstance(error, OSError):
                raise
            if (key, kind) not in self._skipped_keys:
                self._skipped_keys.add((key, kind))
                self._skipped.append(
                    f"{self._full_name} has left out the {kind} that was logged as {key!r:.100}, since it could not be"
                    f" written: {type(error).__name__}: {error}"
                )
            return None

    def _tell_skipped(self) -> None:
        while self._skipped:
            rank_zero_warn(self._skipped.pop(0))

    def report(self, may_raise: bool = True) -> None:
        """Says, once a run, what has failed.

        Args:
            may_raise: Whether this is a place to raise the error.

        Raises:
            LoggingFailedError: If something has failed, `on_failure` is ``"raise"``, and it was not told before.
        """
        work = self._work
        self._tell_skipped()
        if work is None or work.failure is None or self._told:
            return
        self._told = True
        error, reason = work.failure, _reason(work.failure)
        lost = f"{_count(work.unwritten, 'record')} {'was' if work.unwritten == 1 else 'were'} not written"
        if self.on_failure == "raise" and may_raise:
            raise LoggingFailedError(
                f"{self._full_name} could not write. {lost}.",
                got=reason,
                fix='Mend what this says, or leave out `on_failure="raise"` for training to go on without the logger.',
            ) from error
        rank_zero_warn(
            f"{self._full_name} is switched off for the rest of this run, since it could not write: {reason}\n{lost},"
            " and what is logged later is dropped. The run itself goes on."
        )

    def finish(self, may_raise: bool = True) -> None:
        """Ends a run: waits for what is queued, for `drain_timeout` seconds at most, and says what was left.

        What is left is still written as long as the process lives.

        Args:
            may_raise: Whether this is a place to raise an error; it is not where another one ends the run.

        Raises:
            LoggingFailedError: As by `report`, and if something was left and `on_failure` is ``"raise"``.
            KeyboardInterrupt: If it came while waiting.
        """
        if (work := self._work) is None or self._late:
            return
        begun = time.monotonic()
        interrupted = True
        try:
            if work.wait(self.patience) and self.patience == self.drain_timeout:
                # It has begun to move again, or has had its time.
                work.wait(self.drain_timeout - (time.monotonic() - begun))
            interrupted = False
        finally:
            waited = time.monotonic() - begun
            self._failed_before = work.failure is not None
            if work.left and work.failure is None:
                self._late = True
                self._tell_skipped()
                self._tell_what_is_left(work.unwritten - work.dropped, waited, may_raise and not interrupted)
            else:
                with contextlib.ExitStack() as stack:
                    stack.callback(self._forget)
                    stack.callback(work.close)
                    self.report(may_raise)

    def _say_it_is_full(self) -> None:
        if not self._full:
            self._full = True
            rank_zero_warn(
                f"{self._full_name} is slower than training: {WAITING:,} records wait to be written. What is logged"
                " until some are is dropped. Log less often: `Trainer(log_every_n_steps=...)`."
            )

    @property
    def _full_name(self) -> str:
        return f"{self.name} ({self.place})" if self.place else self.name

    def _tell_what_is_left(self, records: int, waited: float, may_raise: bool) -> None:
        left = (
            f"{self._full_name} has not written {_count(records, 'record')}, after {waited:.1f} seconds of waiting at"
            " the end of the run. What the program does not live long enough for is lost."
        )
        longer = f"Pass a longer `drain_timeout` than {self.drain_timeout:g} seconds to wait for it"
        if self.on_failure == "raise" and may_raise:
            raise LoggingFailedError(left, fix=f'{longer}, or leave out `on_failure="raise"`.')
        rank_zero_warn(f"{left} {longer}.")

    def _at_exit(self) -> None:
        """Ends what nobody has waited for, as where a program ends in the middle of a run."""
        work = self._work
        if work is None or self._late or (work.wait(self.drain_timeout) == 0 and work.failure is None):
            return
        print(
            f"{self._full_name} has not written {_count(work.unwritten, 'record')}, and the program ends."
            f" {work.failure or ''}",
            file=sys.stderr,
        )

    def __getstate__(self) -> dict[str, Any]:
        own = {"_work": None, "_told": False, "_late": False, "_full": False, "_stuck_at": None}
        return {**self.__dict__, **own, "_skipped": [], "_skipped_keys": set()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _machines.add(self)


def _reason(error: BaseException) -> str:
    if isinstance(error, MisconfigurationException):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@atexit.register
def _at_exit() -> None:
    for machine in list(_machines):
        machine._at_exit()


def _after_fork() -> None:
    # A fork has none of its parent's threads, and must not do its parent's work.
    for machine in list(_machines):
        machine._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
