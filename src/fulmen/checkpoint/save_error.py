"""A checkpoint that could not be written: what failed, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException

_UNTOUCHED = "Earlier checkpoints are untouched."
_ROOM = (
    "Free space there, keep fewer checkpoints (`save_top_k`), or write to another disk (`dirpath=`). A save needs room "
    "for one file more than are kept: the old one goes when the new one is proven."
)
_RIGHTS = "Let this user write to the folder, or write to another one (`dirpath=`)."
_DISK = "Check the disk and its connection (`dmesg` often says more), or write to another one (`dirpath=`)."
_NAME = "Choose a shorter `filename` or `dirpath`."
_TAKEN = "Something else has this name: move it away, or choose another `filename` or `dirpath`."
_FILES = "Close files, or allow more of them (`ulimit -n`)."
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ), _NAME),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY), _TAKEN),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
}


class CheckpointSaveError(MisconfigurationException, OSError):
    """A checkpoint could not be written, or an old one not removed; also an ``OSError`` with the ``errno`` of that."""

    def __init__(self, rule: str = "", *parts: Any, number: int | None = None, **named: Any) -> None:
        super().__init__(rule, *parts, **named)
        self.errno = number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {**self.__dict__, "errno": self.errno}

    def __str__(self) -> str:
        return str(self.args[0])  # an OSError with a number would show that alone


def save_error(path: str, error: Exception, what: str = "written") -> CheckpointSaveError:
    """The error to raise in place of another one.

    Args:
        path: Where the checkpoint was to go.
        error: What the system or a remote store said.
        what: What could not be done.

    Returns:
        An error that names the path and says what to do.
    """
    number = getattr(error, "errno", None)
    said = (getattr(error, "strerror", None) or str(error)) if number else f"{type(error).__name__}: {error}"
    if "://" in path:
        advice = _RIGHTS if number in (errno.EACCES, errno.EPERM) else "Check the address, the rights, and the network."
    else:
        advice = _ADVICE.get(number or 0, _DISK)
    return CheckpointSaveError(
        f"The checkpoint `{path}` could not be {what}.",
        got=f"{errno.errorcode.get(number, number)}: {said}" if number else said,
        fix=f"{advice} {_UNTOUCHED}",
        number=number,
    )


def failed_proof(path: str, why: str) -> OSError:
    """The error for a file that does not hold what was written to it."""
    return OSError(errno.EIO, f"what was read back is not what was written ({why})", os.fspath(path))
