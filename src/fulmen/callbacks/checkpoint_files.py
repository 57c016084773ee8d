"""What ModelCheckpoint asks of the folder that it writes to."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from fulmen.utilities.imports import require


def is_remote(path: str) -> bool:
    """Whether a path names a store elsewhere, such as ``s3://bucket``."""
    return "://" in path


def _remote(path: str) -> tuple[Any, str]:
    store = require("fsspec", "all", "`ModelCheckpoint` with a `dirpath` like s3://")
    filesystem, inner = store.core.url_to_fs(path)
    return filesystem, inner


def absolute(path: str | os.PathLike[str]) -> str:
    """A local path in full, ``~`` and links resolved; a remote one as it is."""
    path = os.fspath(path)
    return path if is_remote(path) or not path else os.path.realpath(os.path.expanduser(path))


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name."""
    if is_remote(path):
        filesystem, inner = _remote(path)
        return bool(filesystem.exists(inner))
    return os.path.exists(path)


def names_in(folder: str) -> list[str]:
    """The names of what lies in a folder; none if there is no such folder."""
    if is_remote(folder):
        filesystem, inner = _remote(folder)
        return [os.path.basename(p) for p in filesystem.ls(inner, detail=False)] if filesystem.isdir(inner) else []
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def lies_below(path: str, folder: str) -> bool:
    """Whether a local path lies in a folder, at any depth."""
    return Path(absolute(folder)) in Path(absolute(path)).parents


def link(target: str, path: str) -> None:
    """Makes `path` a link to `target`, or a copy where the system knows no links.

    A file or link that was there before is replaced in one step, so that there is always something under the name.

    Args:
        target: An existing file or folder.
        path: The name of the link.
    """
    beside = f"{path}.{os.getpid()}.part"
    try:
        os.symlink(os.path.relpath(target, os.path.dirname(path)), beside)
    except OSError:
        if os.path.isdir(target):
            shutil.copytree(target, beside)
        else:
            shutil.copyfile(target, beside)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    os.replace(beside, path)


def pattern_of(template: str, extension: str, join: str) -> re.Pattern[str]:
    """A pattern for the file names that a template makes, whatever the values and the version."""
    literal = "".join(
        ".*" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^{}]*\})", template) if part
    )
    return re.compile(rf"{literal}({re.escape(join)}v\d+)?{re.escape(extension)}")
