"""A CSV file that grows by rows, and by columns where one is new."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fulmen.loggers.places import append

# What part of the time at most goes into sending a remote file, which is sent as a whole.
_SHARE_OF_TIME = 0.1


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if header:
        writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    return text.getvalue()


class LocalTable:
    """A local file. Rows are appended, by a single system call; what is on the disk is never touched again.

    An exception is a column that is new: then a wider copy of the file takes its place, in one step.

    Args:
        path: The file.

    Attributes:
        columns: The columns of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns: list[str] = []
        self._descriptor: int | None = None

    def set_aside(self) -> str | None:
        """Renames the file, where there is one.

        Returns:
            Its new name, None where there was none.
        """
        if not os.path.exists(self.path):
            return None
        kept = _free_name(self.path, os.path.exists)
        os.rename(self.path, kept)
        return os.path.basename(kept)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes rows to the end of the file: all, or none where it fails."""
        self._find_file()
        columns = set(self.columns).union(*rows)
        if len(columns) == len(self.columns):
            assert self._descriptor is not None
            append(self._descriptor, _text(self.columns, rows, header=False).encode())
        else:
            self._widen(sorted(columns), rows)

    def close(self) -> None:
        """Closes the file; a later `add` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _find_file(self) -> None:
        # A file without a name left was deleted or replaced, and whatever went into it would be lost.
        if self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0:
            self.close()
        if self._descriptor is not None:
            return
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            self.columns = []
            return
        with open(self.path, newline="", encoding="utf-8") as file:
            self.columns = next(csv.reader(file), [])

    def _widen(self, columns: list[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self.close()
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        temporary = f"{self.path}.tmp"
        try:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                if self.columns:
                    with open(self.path, newline="", encoding="utf-8") as narrow:
                        writer.writerows(csv.DictReader(narrow))
                writer.writerows(rows)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
        self.columns = columns

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


class FarTable:
    """A file at an address. Few storages can append, so the file is sent as a whole, and kept in memory for that.

    Args:
        path: The address.

    Attributes:
        columns: The columns of the file.
        pause: For how many seconds nothing should be sent, for sending to take a small part of the time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns: list[str] = []
        self.pause = 0.0
        self._content = ""

    def _place(self) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(self.path)
        return system, path

    def set_aside(self) -> str | None:
        """Renames the file, where there is one.

        Returns:
            Its new name, None where there was none.
        """
        system, path = self._place()
        if not system.exists(path):
            return None
        kept = _free_name(path, system.exists)
        system.mv(path, kept)
        return kept.rpartition("/")[2]

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sends the file with rows more."""
        columns, content = sorted(set(self.columns).union(*rows)), self._content
        if columns != self.columns:
            content = _text(columns, csv.DictReader(io.StringIO(content, newline="")), header=True)
        content += _text(columns, rows, header=False)
        begun = time.monotonic()
        system, path = self._place()
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, content.encode())
        self.pause = (time.monotonic() - begun) / _SHARE_OF_TIME
        self.columns, self._content = columns, content

    def close(self) -> None:
        """Does nothing: no file is open."""


def _free_name(path: str, exists: Any) -> str:
    stem, extension = os.path.splitext(path)
    count = 1
    while exists(kept := f"{stem}_{count}{extension}"):
        count += 1
    return kept
