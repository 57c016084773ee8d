"""Folders that checkpoints are written to: files under way, what killed writers left, names brought to the disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from fulmen.utilities.whole_files import is_remote, plain_path

try:
    import fcntl
except ImportError:  # not a POSIX system: there a file that is open cannot be removed by others
    _fcntl: ModuleType | None = None
else:
    _fcntl = fcntl

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_LONGEST_NAME = 230  # systems take 255 bytes, and a part's name is longer than its file's


def part_name(name: str) -> str:
    """A hidden name beside another one, for a file that is not whole yet."""
    shown = name if len(os.fsencode(name)) <= _LONGEST_NAME else name[:50]
    return f".{shown}.{os.urandom(4).hex()}.part"


def make(folder: str) -> None:
    """Makes a folder and those above it, and brings their names to the disk."""
    missing, above = [], folder
    while not os.path.isdir(above) and above != os.path.dirname(above):
        missing.append(above)
        above = os.path.dirname(above)
    for new in reversed(missing):
        with synced(os.path.dirname(new)), suppress(FileExistsError):
            os.mkdir(new)


@contextmanager
def synced(folder: str) -> Iterator[None]:
    """Brings the names in a folder to the disk after the block; fails before it where the folder cannot be opened."""
    if os.name != "posix":
        yield  # elsewhere a folder cannot be opened, and a rename needs no such step
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # some systems know it for files alone
                raise
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    os.close(descriptor)


@contextmanager
def part_of(folder: str, name: str, is_folder: bool = False) -> Iterator[str]:
    """An empty file or folder beside its final name, to be filled and renamed in the block.

    It is locked as long as its writer lives, which tells it from what a killed writer left. If the block fails, it is
    removed.

    Args:
        folder: Where the name will be.
        name: The final name.
        is_folder: Whether a folder is wanted.

    Yields:
        Its path.
    """
    path, descriptor = _claim(folder, name, is_folder)
    try:
        yield path
    except BaseException:
        _discard(path)
        raise
    finally:
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def _discard(path: str) -> None:
    with suppress(OSError):  # the first error is the one to be mended; what stays goes at the next start
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


def _claim(folder: str, name: str, is_folder: bool) -> tuple[str, int | None]:
    while True:
        path = os.path.join(folder, part_name(name))
        # for writing, since some network file systems lock nothing else
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        if is_folder:
            os.mkdir(path)
            flags = os.O_RDONLY
        if _fcntl is None:
            if not is_folder:
                os.close(os.open(path, flags, 0o666))
            return path, None  # there a file that is open cannot be renamed
        descriptor = os.open(path, flags, 0o666)
        try:
            if _lock(descriptor) and _is_at(path, descriptor):
                return path, descriptor
        except BaseException:
            _discard(path)
            with suppress(OSError):
                os.close(descriptor)
            raise
        os.close(descriptor)  # whoever cleans up was faster than the lock, and takes this for what a dead writer left


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    """Locks a file; False if somebody else has. Where a system knows no locks, it is taken for locked."""
    if _fcntl is None:
        return True
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def remove_leftovers(folder: str, depth: int = 0) -> list[str]:
    """Removes the files that killed writers left under way; those of writers that live stay.

    Args:
        folder: A folder that may not exist. In a remote one nothing is left: its store shows a file when it is whole.
        depth: How many levels of folders below it are looked through, too.

    Returns:
        The paths of what was removed.
    """
    if is_remote(folder):
        return []
    removed = []
    with suppress(OSError), os.scandir(plain_path(folder)) as entries:
        for entry in list(entries):
            if _PART.fullmatch(entry.name):
                removed += [entry.path] if _remove_if_dead(entry) else []
            elif depth and entry.is_dir(follow_symlinks=False):
                removed += remove_leftovers(entry.path, depth - 1)
    return removed


def _remove_if_dead(part: os.DirEntry[str]) -> bool:
    try:
        if part.is_symlink():
            os.remove(part.path)
            return True
        if _fcntl is None:
            os.remove(part.path)  # refused while its writer has it open
            return True
        folder = part.is_dir()
        descriptor = os.open(part.path, os.O_RDONLY if folder else os.O_RDWR)
    except OSError:
        return False
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        shutil.rmtree(part.path) if folder else os.remove(part.path)
        return True
    except OSError:
        return False  # its writer lives, or there are no locks here to tell
    finally:
        os.close(descriptor)
