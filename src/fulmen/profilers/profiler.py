"""What all profilers have in common: actions that start and stop, and a report that is printed or saved."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.generations import taught
from fulmen.utilities.imports import require
from fulmen.utilities.rank_zero import rank_zero_only


@taught
class Profiler(ABC):
    """Watches named actions, and reports on them at the end of a stage.

    A profiler of your own defines :meth:`start`, :meth:`stop` and :meth:`summary`.

    Args:
        dirpath: The folder for files, local or an address that fsspec knows; None for the logger's.
        filename: The middle of the names of files; None prints the report in place of saving it.

    Example:
        >>> class Counting(Profiler):
        ...     calls = 0
        ...     def start(self, action_name):
        ...         self.calls += 1
        ...     def stop(self, action_name):
        ...         pass
        ...     def summary(self):
        ...         return f"{self.calls} actions"
        >>> profiler = Counting()
        >>> with profiler.profile("loading"):
        ...     pass
        >>> profiler.describe()
        1 actions
    """

    # on the class, so that a profiler of the user's works without a call of `super().__init__`
    dirpath: str | os.PathLike[str] | None = None
    filename: str | None = None
    _lightning_module: Any = None  # the module of the stage, given by the Trainer
    _stage: str | None = None
    _local_rank: int | None = None
    _log_dir: str | None = None

    def __init__(self, dirpath: str | os.PathLike[str] | None = None, filename: str | None = None) -> None:
        self.dirpath = dirpath
        self.filename = filename

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Called when an action begins.

        Args:
            action_name: Its name.
        """

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """Called when an action ends.

        Args:
            action_name: Its name.
        """

    def summary(self) -> str:
        """The report.

        Returns:
            A text; empty for no report.
        """
        return ""

    @contextmanager
    def profile(self, action_name: str) -> Generator[str]:
        """Watches the ``with`` block as one action.

        Args:
            action_name: The action's name.

        Yields:
            The name.
        """
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def describe(self) -> None:
        """Prints the report on rank 0, or saves it where there is a `filename`."""
        text = self.summary()
        if not text:
            return
        if self.filename is None:
            rank_zero_only(print)(text)
        else:
            self._save(self._file_name(".txt"), lambda path: _write_text(path, text))

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """Called before a stage begins.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
            local_rank: The rank of this process on its machine, for the names of files; None for only one process.
            log_dir: The logger's folder.
        """
        self._stage = str(getattr(stage, "value", stage))
        self._local_rank = local_rank
        self._log_dir = log_dir

    def teardown(self, stage: str | None) -> None:
        """Called when a stage has ended and the report is out.

        Args:
            stage: The stage.
        """
        self._lightning_module = None

    @property
    def local_rank(self) -> int:
        """The rank of this process on its machine."""
        return self._local_rank or 0

    @property
    def _title(self) -> str:
        return f"{self._stage.upper()} Profiler Report" if self._stage else "Profiler Report"

    def _file_name(self, extension: str, action_name: str | None = None) -> str:
        parts = (self._stage, self.filename, self._local_rank, action_name)
        return "-".join(str(part) for part in parts if part is not None).replace("/", "_") + extension

    def _save(self, name: str, write: Callable[[str], Any]) -> None:
        """Makes a file in the folder for files.

        Args:
            name: The file's name.
            write: Writes it, given a local path.
        """
        folder = os.fspath(self.dirpath or self._log_dir or os.curdir)
        if "://" not in folder:
            os.makedirs(folder, exist_ok=True)
            write(os.path.join(folder, name))
            return
        core = require("fsspec.core", "all", f"A profiler with the folder {folder!r}")
        files, remote = core.url_to_fs(folder)
        with tempfile.TemporaryDirectory() as local:
            write(os.path.join(local, name))
            files.makedirs(remote, exist_ok=True)
            files.put_file(os.path.join(local, name), f"{remote}/{name}")


def not_running(action_name: str) -> MisconfigurationException:
    """The error of stopping what was not started."""
    return MisconfiguredValue(
        f"The action {action_name!r} cannot be stopped: it is not running.",
        fix=f"Write `with profiler.profile({action_name!r}): ...`, or call `profiler.start({action_name!r})` before.",
    )


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
