"""Saving while training goes on."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from fulmen.checkpoint.io import CheckpointIO
from fulmen.checkpoint.snapshot import Snapshots
from fulmen.checkpoint.wrapping import _WrappingCheckpointIO
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun

# A thread that begins keeps the interpreter for some milliseconds, unless it lets the one that saves go first.
_HEAD_START = 0.002


class CheckpointNotSavedError(MisconfiguredRun):
    """A file that was being written while training went on could not be; ``__cause__`` says why."""


class AsyncCheckpointIO(_WrappingCheckpointIO):
    """Writes checkpoints while training goes on: saving takes as long as copying the state in memory.

    At most one file is being written; the next save waits for it. What went wrong is raised by the next save, load or
    :meth:`join`, at the latest when the run ends. The memory of the copy is kept between saves, so a run needs as much
    more memory as its state is large. A state that cannot be copied is written before saving returns.

    Args:
        checkpoint_io: The one that writes; None for a ``TorchCheckpointIO``.

    Example:
        >>> from fulmen import Trainer
        >>> trainer = Trainer(plugins=[AsyncCheckpointIO()], logger=False)
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        super().__init__(checkpoint_io)
        self._snapshots = Snapshots()
        self._flight: _Flight | None = None
        self._failed: set[str] = set()
        self._due: deque[Callable[[], None]] = deque()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Copies a checkpoint and begins to write it.

        Args:
            checkpoint: What to save. It may change as soon as this returns.
            path: Where.
            storage_options: For the storage.

        Raises:
            CheckpointNotSavedError: If the file before this one could not be written. Nothing is saved then.
        """
        self.join()
        place = _identity(path)
        self._failed.discard(place)
        try:
            copy = self._snapshots.take(checkpoint)
        except (pickle.PicklingError, TypeError, AttributeError):
            # The one that writes may have a format for it; if not, it says what is wrong with it, and says it now.
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        self._flight = _Flight(place, partial(super().save_checkpoint, copy, path, storage_options))
        atexit.register(self._at_exit)
        self._flight.start()

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint, once all that was saved is in its place."""
        self.join()
        return super().load_checkpoint(path, map_location, weights_only)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Removes a checkpoint; one that is being written, when it is done."""
        if self._flight is not None and self._flight.place == _identity(path):
            self.join()
        super().remove_checkpoint(path)

    def when_saved(
        self, path: str | os.PathLike[str], action: Callable[[], None], if_failed: Callable[[], None] | None = None
    ) -> None:
        """Does something once a checkpoint is in its place: during the next save, :meth:`poll` or :meth:`join`.

        Args:
            path: Where the checkpoint was saved to.
            action: What to do then.
            if_failed: What to do instead if it cannot be written.
        """
        place = _identity(path)
        if self._flight is not None and self._flight.place == place:
            self._flight.actions.append(action)
            if if_failed is not None:
                self._flight.remedies.append(if_failed)
        elif place not in self._failed:
            self._due.append(action)
            self._run_due()

    def poll(self) -> None:
        """Does what was put off, if the file is in its place by now.

        Raises:
            CheckpointNotSavedError: If it could not be written.
        """
        if self._flight is None or self._flight.is_over():
            self.join()

    def join(self) -> None:
        """Waits until the file that is being written is in its place, and does what was put off until then.

        Raises:
            CheckpointNotSavedError: If it could not be written.
        """
        flight = self._flight
        if flight is not None and flight.is_ours():
            flight.wait()
            self._flight = None
            atexit.unregister(self._at_exit)
            if flight.error is not None:
                self._give_up(flight, flight.error)
            self._due.extend(flight.actions)
        self._run_due()

    def teardown(self) -> None:
        """Waits for the file that is being written, and lets go of the memory of the copy.

        Raises:
            CheckpointNotSavedError: If it could not be written.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(super().teardown)
            stack.callback(self._snapshots.release)
            self.join()

    def _run_due(self) -> None:
        while self._due:  # one that fails is gone, and leaves the others for the next time
            self._due.popleft()()

    def _give_up(self, flight: _Flight, error: BaseException) -> None:
        self._failed.add(flight.place)
        for remedy in reversed(flight.remedies):  # each takes back what was done after the one before it
            remedy()
        raise CheckpointNotSavedError(
            f"The checkpoint {flight.place} was being written while training went on, and could not be.",
            got=_reason(error),
            fix="Mend what this says, and resume from the checkpoint before it, which is untouched: "
            '`trainer.fit(model, ckpt_path="last")`.',
        ) from error

    def _at_exit(self) -> None:
        """Ends what nobody waited for. Python has waited for the thread by now, and would not say what it met."""
        try:
            self.join()
        except Exception as failure:
            print(failure, file=sys.stderr)


class _Flight:
    """A file that is being written, and what waits for it."""

    def __init__(self, place: str, write: Callable[[], None]) -> None:
        self.place = place
        self.actions: list[Callable[[], None]] = []
        self.remedies: list[Callable[[], None]] = []
        self.error: BaseException | None = None
        self._process = os.getpid()
        # No daemon, so that Python waits for it before it exits.
        self._thread = threading.Thread(target=self._run, args=(write,), name="fulmen-checkpoint", daemon=False)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # Python is about to exit, or the system has no thread left
            self._thread.run()

    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def is_ours(self) -> bool:
        """Whether this process writes it; a fork of the one that does has no such thread, and cannot tell its end."""
        return self._process == os.getpid()

    def wait(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self, write: Callable[[], None]) -> None:
        time.sleep(_HEAD_START)
        try:
            write()
        except BaseException as error:
            self.error = error


def _identity(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name if "://" in name else os.path.abspath(name)


def _reason(error: BaseException) -> str:
    """What went wrong: the system's own words, where torch has others for what came of it."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, (OSError, MisconfigurationException)):
        inner = inner.__cause__ or inner.__context__
    shown = error if inner is None else inner
    return f"{type(shown).__name__}: {shown}"
