"""Which files are whole checkpoints, and when they were written: what a restart has to know of a folder."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from fulmen.utilities.imports import require
from fulmen.utilities.seal import ARCHIVE, BrokenSeal, check_seal, has_directory, read_seal

_NEVER = 2**63 - 1
_LOCAL = ("file://", "local://")


class Candidate(NamedTuple):
    """What can be told of a checkpoint without reading all of it.

    Attributes:
        created: When it was written, in nanoseconds, as the file or else the file system says.
        changed: When the file was changed, as the file system says.
        path: Where it lies.
        sealed: Whether it has a seal, whole or not.
        resumable: Whether training can go on from it, as far as its seal says.
    """

    created: int
    changed: int
    path: str
    sealed: bool
    resumable: bool


def plain_path(path: str | os.PathLike[str]) -> str:
    """A path as the system takes it: an address of a local file without its ``file://``."""
    path = os.fspath(path)
    return next((path[len(scheme) :] for scheme in _LOCAL if path.startswith(scheme)), path)


def is_remote(path: str) -> bool:
    """Whether a path names a store elsewhere, such as ``s3://bucket``."""
    return "://" in plain_path(path)


def remote(path: str, **options: Any) -> tuple[Any, str]:
    """The file system of an address, as fsspec knows it, and the path in it."""
    filesystem, inner = require("fsspec", "all", f"The address {path!r}").core.url_to_fs(path, **options)
    return filesystem, inner


def is_there(path: str) -> bool:
    """Whether there is something of that name in a local folder, also if it cannot be looked at."""
    try:
        os.stat(plain_path(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Opens a local file or an address for reading; what a server gives only in one go is held in memory."""
    if is_remote(path):
        filesystem, inner = remote(path)
        with filesystem.open(inner, "rb") as file:
            if _gives_any_part(file):
                yield file
                return
        with filesystem.open(inner, "rb") as file:
            content = io.BytesIO(file.read())
        yield content
    else:
        with open(plain_path(path), "rb") as file:
            yield file


def _gives_any_part(file: IO[bytes]) -> bool:
    try:
        file.seek(-1, os.SEEK_END)
        file.read(1)
        file.seek(0)
    except (ValueError, OSError, NotImplementedError):
        return False
    return True


def candidate(path: str) -> Candidate | None:
    """Looks at a file's end, or at the date of a folder.

    Args:
        path: A local path or an address.

    Returns:
        What can be told, also of a file that cannot be read; None if there is none.
    """
    changed, folder = _NEVER, False  # what cannot be looked at comes first, so that it is named
    try:
        changed, folder = _changed(path)
        if folder:
            return Candidate(changed, changed, path, sealed=False, resumable=True)
        with opened(path) as file:
            seal = read_seal(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (BrokenSeal, OSError):
        return Candidate(changed, changed, path, sealed=True, resumable=True)
    if seal is None:
        return Candidate(changed, changed, path, sealed=False, resumable=True)
    return Candidate(seal.created, changed, path, sealed=True, resumable=seal.resumable)


def _changed(path: str) -> tuple[int, bool]:
    """When a file or folder was changed, and whether it is a folder."""
    if not is_remote(path):
        status = os.stat(plain_path(path))
        return status.st_mtime_ns, stat.S_ISDIR(status.st_mode)
    filesystem, inner = remote(path)
    folder = bool(filesystem.isdir(inner))
    try:
        return int(filesystem.modified(inner).timestamp() * 1e9), folder
    except (NotImplementedError, KeyError, AttributeError, TypeError, FileNotFoundError):
        return 0, folder  # not every store knows


def what_is_wrong(path: str) -> str:
    """Reads a file and says why it is no whole checkpoint.

    Args:
        path: A local path or an address; of a folder nothing is known, so it passes.

    Returns:
        The reason, or nothing. A file without a seal passes if its archive can be listed, or if it is no archive.
    """
    try:
        if _changed(path)[1]:
            return ""
        with opened(path) as file:
            if check_seal(file) is not None:
                return ""
            start = file.read(512)
            if not start.strip(b"\0"):
                return "there is nothing in it"
            file.seek(0)
            if start.startswith(ARCHIVE) and not has_directory(file):
                return "it is an archive whose directory is missing"
    except (BrokenSeal, OSError) as error:
        return str(error)
    return ""


def previous(path: str) -> str | None:
    """The newest whole file that was written before another one of the same folder and kind.

    Args:
        path: The other one.

    Returns:
        Its path; None if there is none, or the folder is not a local one.
    """
    if is_remote(path) or not os.path.exists(path := plain_path(path)):
        return None
    folder, name = os.path.split(path)
    extension, own = os.path.splitext(name)[1], candidate(path)
    names = (other for other in os.listdir(folder or ".") if other != name and not other.startswith("."))
    others = [os.path.join(folder, other) for other in names if os.path.splitext(other)[1] == extension]
    known = [candidate(other) for other in others if os.path.isfile(other)]
    # the date in a broken seal may be wrong, and then that of the file system has to do
    for limit in (own.created, max(own.created, own.changed)) if own is not None else ():
        found = next(whole(one for one in known if one is not None and one.created <= limit), None)
        if found is not None:
            return found
    return None


def whole(candidates: Iterable[Candidate]) -> Iterator[str]:
    """The paths of whole checkpoints, the newest first; each is read when its turn comes."""
    return (one.path for one in sorted(candidates, reverse=True) if not what_is_wrong(one.path))
