"""What ModelCheckpoint asks of the folder that it writes to."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from fulmen.checkpoint import store
from fulmen.checkpoint.folder import remove_leftovers
from fulmen.checkpoint.save_error import CheckpointSaveError
from fulmen.utilities.whole_files import is_remote as is_remote
from fulmen.utilities.whole_files import plain_path, remote

# None: the system's own words for it carry no number
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, None)
_VERSION = re.compile(r"version_([0-9]+)")


def absolute(path: str | os.PathLike[str]) -> str:
    """A local path in full, ``~`` and links resolved; a remote one as it is."""
    path = plain_path(path)
    return path if is_remote(path) or not path else os.path.realpath(os.path.expanduser(path))


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name."""
    if is_remote(path):
        filesystem, inner = remote(path)
        return bool(filesystem.exists(inner))
    return os.path.exists(plain_path(path))


def names_in(folder: str) -> list[str]:
    """The names of what lies in a folder; none if there is no such folder."""
    if is_remote(folder):
        filesystem, inner = remote(folder)
        return [os.path.basename(p) for p in filesystem.ls(inner, detail=False)] if filesystem.isdir(inner) else []
    folder = plain_path(folder)
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def paths_below(folder: str, depth: int, extension: str) -> list[str]:
    """The paths of the files and folders of a kind in a folder, and in those below it down to a depth."""
    found = []
    for name in names_in(folder):
        path = f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)
        if name.endswith(extension) and not name.startswith("."):
            found.append(path)
        elif depth and not name.startswith("."):
            found += paths_below(path, depth - 1, extension)
    return found


def earlier_runs(folder: str) -> list[str]:
    """The folders of checkpoints of the runs before one, where a logger counts its runs.

    Args:
        folder: Such as ``lightning_logs/version_3/checkpoints``.

    Returns:
        Such as those of ``version_0`` to ``version_2``; none where the folder is not the default one of a counted run.
    """
    above, name = os.path.split(folder)
    root, version = os.path.split(above)
    own = _VERSION.fullmatch(version)
    if own is None or name != "checkpoints":
        return []
    others = ((other, _VERSION.fullmatch(other)) for other in names_in(root))
    return [os.path.join(root, other, name) for other, match in others if match and int(match[1]) < int(own[1])]


def clean(folder: str, depth: int) -> None:
    """Removes what killed writers left in the folder of a run, and in those of the runs before it.

    Args:
        folder: The folder of a run.
        depth: How many levels of folders below hold checkpoints, too.
    """
    for one in (folder, *earlier_runs(folder)):
        remove_leftovers(one, depth)


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
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    try:
        store.link(target, path)
    except CheckpointSaveError as error:
        if error.errno not in _NO_LINKS:
            raise
        store.copy(target, path)


def pattern_of(template: str, extension: str, join: str) -> re.Pattern[str]:
    """A pattern for the file names that a template makes, whatever the values and the version."""
    literal = "".join(
        ".*" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^{}]*\})", template) if part
    )
    return re.compile(rf"{literal}({re.escape(join)}v\d+)?{re.escape(extension)}")
