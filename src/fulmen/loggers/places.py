"""Files that loggers write, in local folders and at addresses."""

from __future__ import annotations

import os
from typing import Any


def is_address(path: str) -> bool:
    """Whether a path names a remote place, such as ``s3://bucket/logs``."""
    return "://" in path


def may_pass(error: Exception) -> bool:
    """Whether what has failed may succeed a little later: a connection that broke, not a disk that is full."""
    return isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.startswith(
        ("aiohttp", "botocore")
    )


def append(descriptor: int, content: bytes) -> None:
    """Adds to the end of a local file: all of it, or, where the disk is full, nothing.

    Args:
        descriptor: The file's, opened for appending.
        content: What to add.
    """
    size = os.fstat(descriptor).st_size
    remaining = content
    try:
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
    except BaseException:
        # Half a record must not stay, since the next one would be joined to it.
        os.ftruncate(descriptor, size)
        raise


def write_file(folder: str, stem: str | None, suffix: str, content: bytes) -> None:
    """Writes a whole file, in one step where the system can.

    Args:
        folder: Where; made where it is missing.
        stem: The file's name without its ending; None for the first of ``0``, ``1``, ... that is free.
        suffix: The ending.
        content: What to write.
    """
    if is_address(folder):
        _write_far(folder, stem, suffix, content)
        return
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{stem or _free(os.path.exists, folder, suffix)}{suffix}")
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def _write_far(folder: str, stem: str | None, suffix: str, content: bytes) -> None:
    import fsspec  # type: ignore[import-untyped]

    system, path = fsspec.core.url_to_fs(folder)
    system.makedirs(path, exist_ok=True)
    system.pipe_file(f"{path}/{stem or _free(system.exists, path, suffix)}{suffix}", content)


def _free(exists: Any, folder: str, suffix: str) -> str:
    number = 0
    while exists(f"{folder}/{number:08d}{suffix}"):
        number += 1
    return f"{number:08d}"
