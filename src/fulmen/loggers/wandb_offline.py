"""Whether W&B gets what it is handed onto the disk, which it does not say itself."""

from __future__ import annotations

import errno
import os
from typing import Any

# Of the log of W&B's own process, which is long if something failed often.
_LOG_BYTES = 65536
_FAILED = b"failed to save record"
_LEAST_FREE = 65536


def check_written(run: Any) -> None:
    """Raises an error if what was logged to a run that is offline does not get onto the disk.

    W&B's own process writes the file, and only notes in a log of its own that it could not.

    Args:
        run: The run.

    Raises:
        OSError: If the disk is full, or W&B could not write.
    """
    if not getattr(run, "offline", False):
        return
    folder = os.path.dirname(os.path.abspath(run.dir))
    if hasattr(os, "statvfs"):
        state = os.statvfs(folder)
        if state.f_bavail * state.f_frsize < _LEAST_FREE:
            raise OSError(errno.ENOSPC, "the disk is full", folder)
    reason = _noted(os.path.join(folder, "logs", "debug-internal.log"))
    if reason:
        raise OSError(errno.EIO, reason, folder)


def _noted(path: str) -> str:
    """What W&B's process has noted of a failure, empty for nothing."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _LOG_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return ""
    failures = [line for line in lines if _FAILED in line]
    if not failures:
        return ""
    return failures[-1].decode(errors="replace").rpartition('"msg":"')[2].rstrip('"}')
