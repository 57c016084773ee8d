"""The files of packages under Lightning's names: what a folder of installed packages gets, and what it has."""

from __future__ import annotations

import base64
import hashlib
import os
from email.parser import HeaderParser
from pathlib import Path

from fulmen.compat.paths import DISTRIBUTIONS, VERSION, metadata_of, normalized

INSTALLER = "fulmen"

_PACKAGE = '''"""Fulmen under the name `{package}`; `fulmen alias remove` takes it out again."""

from fulmen.compat.alias import serve

serve(globals())
'''
_WHEEL = "Wheel-Version: 1.0\nGenerator: fulmen\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def files_of(distribution: str) -> dict[str, bytes]:
    """All files of a distribution.

    Args:
        distribution: Its name, such as ``"pytorch-lightning"``.

    Returns:
        The content by the path below the folder of packages.
    """
    package = DISTRIBUTIONS[distribution]
    info = f"{package}-{VERSION}.dist-info"
    texts = {
        f"{package}/__init__.py": _PACKAGE.format(package=package),
        f"{info}/INSTALLER": f"{INSTALLER}\n",
        f"{info}/METADATA": metadata_of(distribution),
        f"{info}/WHEEL": _WHEEL,
        f"{info}/top_level.txt": f"{package}\n",
    }
    files = {path: text.encode() for path, text in texts.items()}
    rows = [f"{path},{_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "".join(f"{row}\n" for row in [*rows, f"{info}/RECORD,,"]).encode()
    return files


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def folders_of(folder: Path, distribution: str) -> list[str]:
    """What a folder of packages has of a distribution: the package, and folders or files with its metadata.

    Args:
        folder: The folder of packages.
        distribution: The distribution's name.

    Returns:
        Names in the folder.
    """
    package = DISTRIBUTIONS[distribution]
    infos = [entry.name for entry in _entries(folder) if _named(entry.name) == distribution]
    return sorted([*infos, *([package] if os.path.lexists(folder / package) else [])])


def version_in(folder: Path, distribution: str) -> str | None:
    """The version that a folder's metadata says of a distribution; None where there is none.

    Args:
        folder: The folder of packages.
        distribution: The distribution's name.
    """
    for name in folders_of(folder, distribution):
        for file in ("METADATA", "PKG-INFO", ""):
            path = folder / name / file
            if name != DISTRIBUTIONS[distribution] and path.is_file():
                found = HeaderParser().parsestr(path.read_text(encoding="utf-8", errors="replace"))["Version"]
                return str(found) if found else None
    return None


def is_ours(folder: Path, distribution: str) -> bool:
    """Whether what a folder has of a distribution stands for Fulmen.

    Args:
        folder: The folder of packages.
        distribution: The distribution's name.
    """
    info = folder / f"{DISTRIBUTIONS[distribution]}-{VERSION}.dist-info"
    try:
        return (info / "INSTALLER").read_text(encoding="utf-8").strip() == INSTALLER
    except OSError:
        return False


def strangers(folder: Path, distribution: str) -> list[str]:
    """Files in the folders of a distribution that stands for Fulmen, and that Fulmen did not put there.

    Args:
        folder: The folder of packages.
        distribution: The distribution's name.

    Returns:
        Their paths below the folder.
    """
    known = {*files_of(distribution), f"{DISTRIBUTIONS[distribution]}-{VERSION}.dist-info/REQUESTED"}
    there = [
        path.relative_to(folder).as_posix()
        for name in folders_of(folder, distribution)
        for path in (folder / name).rglob("*")
        if not path.is_dir() and path.parent.name != "__pycache__"
    ]
    return sorted(set(there) - known)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _named(entry: str) -> str | None:
    """The distribution that a name in a folder of packages holds the metadata of."""
    stem, dot, kind = entry.rpartition(".")
    return normalized(stem.partition("-")[0]) if dot and kind in ("dist-info", "egg-info") else None
