"""Packages under Lightning's names in a folder of installed packages: put there, and taken out without a trace.

What was there is moved aside, into ``.fulmen-alias`` beside it. Folders are only ever renamed, and a journal says what
is being done, so that a process may die between any two steps: the next call takes an installation back that did not
come to its end, and brings a removal to its end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fulmen.compat.paths import DISTRIBUTIONS
from fulmen.compat.site_files import files_of, folders_of, is_ours, strangers, version_in
from fulmen.utilities.exceptions import MisconfiguredRun

_STORE = ".fulmen-alias"
_DONE = ".fulmen-alias-done"


@dataclass
class Journal:
    """What is being done in a folder of packages, or was.

    Args:
        state: ``"installing"``, ``"installed"`` or ``"removing"``.
        ours: Names in the folder that stand for Fulmen.
        aside: Names in the folder that were somebody else's, and are moved.
        kept: Such names that were moved before.
    """

    state: str
    ours: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What a folder of packages has under the name of a distribution.

    Args:
        distribution: The name.
        kind: ``"nothing"``, ``"ours"`` or ``"real"``.
        version: The version that its metadata says, if any.
        folders: Names in the folder.
        place: The folder.
    """

    distribution: str
    kind: str
    version: str | None
    folders: list[str]
    place: Path

    def __str__(self) -> str:
        return f"{self.distribution} {self.version or ''}".strip()


def look(folder: Path) -> list[Found]:
    """What a folder of packages has under Lightning's names.

    Args:
        folder: The folder.
    """
    found = []
    for distribution in DISTRIBUTIONS:
        folders = folders_of(folder, distribution)
        kind = "nothing" if not folders else "ours" if is_ours(folder, distribution) else "real"
        found.append(Found(distribution, kind, version_in(folder, distribution), folders, folder))
    return found


def kept_aside(folder: Path) -> list[str]:
    """Names that were in a folder of packages before Fulmen's came, and are kept.

    Args:
        folder: The folder.
    """
    return sorted(path.name for path in (folder / _STORE / "aside").glob("*"))


def interrupted(folder: Path) -> bool:
    """Whether an installation or a removal did not come to its end.

    Args:
        folder: The folder of packages.
    """
    journal = _read(folder)
    return (folder / _STORE).exists() and (journal is None or journal.state != "installed")


def install(folder: Path, replace: bool = False, elsewhere: Sequence[Found] = ()) -> list[str]:
    """Puts packages under Lightning's names into a folder.

    Args:
        folder: The folder of packages.
        replace: Whether what is there under these names may be moved aside, and what is elsewhere be hidden.
        elsewhere: What other folders have under these names, of those that Python looks through later.

    Returns:
        The names that were moved aside.

    Raises:
        MisconfiguredRun: If something is there and may not be moved or hidden.
    """
    recover(folder)
    found = look(folder)
    real = [name for one in found if one.kind == "real" for name in one.folders]
    missing = [one.distribution for one in found if one.kind != "ours"]
    hidden = [one for one in elsewhere if one.distribution in missing]
    if (real or hidden) and not replace:
        more = ", hides those in other folders" if hidden else ""
        raise MisconfiguredRun(
            "Packages of these names are installed, and are replaced only with your consent.",
            got=", ".join(
                [*(str(one) for one in found if one.kind == "real"), *(f"{one} in {one.place}" for one in hidden)]
            ),
            fix=f"`fulmen alias install --replace` keeps them aside{more}, and `fulmen alias remove` puts them back. "
            "`fulmen run script.py` needs no change of the environment.",
        )
    if not missing:
        return []
    kept = kept_aside(folder)
    _refuse_taken(folder, sorted({*kept} & {*real}))
    files = {path: content for name in missing for path, content in files_of(name).items()}
    ours = sorted({path.partition("/")[0] for path in files})
    shutil.rmtree(folder / _STORE / "new", ignore_errors=True)
    for path, content in files.items():
        _write(folder / _STORE / "new" / path, content)
    (folder / _STORE / "aside").mkdir(exist_ok=True)
    _note(folder, Journal("installing", ours, real, kept))
    for name in real:
        _move(folder / name, folder / _STORE / "aside" / name)
    for name in ours:
        _move(folder / _STORE / "new" / name, folder / name)
    _settle(folder, [*kept, *real])
    return real


def remove(folder: Path) -> list[str]:
    """Takes Fulmen's packages out of a folder, and puts back what was there before.

    Args:
        folder: The folder of packages.

    Returns:
        The names that were put back.

    Raises:
        MisconfiguredRun: If others have put files into Fulmen's packages.
    """
    recover(folder)
    mine = [one.distribution for one in look(folder) if one.kind == "ours"]
    others = [path for name in mine for path in strangers(folder, name)]
    if others:
        raise MisconfiguredRun(
            "Only what Fulmen has put into its packages is removed.",
            got=others,
            fix="Move these files elsewhere first.",
        )
    ours = sorted({path.partition("/")[0] for name in mine for path in files_of(name)})
    aside = kept_aside(folder)
    if not ours and not aside:
        return []
    _refuse_taken(folder, [name for name in aside if name not in ours and os.path.lexists(folder / name)])
    (folder / _STORE).mkdir(exist_ok=True)
    _note(folder, Journal("removing", ours, aside))
    return recover(folder)


def recover(folder: Path) -> list[str]:
    """Takes back an installation that did not come to its end, or brings a removal to its end.

    Args:
        folder: The folder of packages.

    Returns:
        The names that were put back.
    """
    shutil.rmtree(folder / _DONE, ignore_errors=True)
    store, journal = folder / _STORE, _read(folder)
    if not store.exists() or (journal is not None and journal.state == "installed"):
        return []
    if journal is None:  # died while its files were written: nothing has been moved
        _finish(folder)
        return []
    out = store / "out"
    out.mkdir(exist_ok=True)
    for name in journal.ours:
        # It is Fulmen's unless somebody else's of this name has not been moved aside yet.
        waits = name in journal.aside and not os.path.lexists(store / "aside" / name)
        if not waits and not (out / name).exists() and (folder / name).exists() and _moved_in(store, name, journal):
            _move(folder / name, out / name)
    _refuse_taken(folder, [name for name in journal.aside if _in_both(folder, name)])
    back = [name for name in journal.aside if os.path.lexists(store / "aside" / name)]
    for name in back:
        _move(store / "aside" / name, folder / name)
    _settle(folder, journal.kept)
    return back


def _moved_in(store: Path, name: str, journal: Journal) -> bool:
    """Whether one of Fulmen's folders has left the place where it was written."""
    return journal.state == "removing" or not (store / "new" / name).exists()


def _in_both(folder: Path, name: str) -> bool:
    return os.path.lexists(folder / name) and os.path.lexists(folder / _STORE / "aside" / name)


def _refuse_taken(folder: Path, names: list[str]) -> None:
    if names:
        raise MisconfiguredRun(
            "What was there before Fulmen's packages is kept, and goes back only where its place is free.",
            got=[str(folder / name) for name in names],
            fix=f"Uninstall the packages that are there now, or delete {folder / _STORE}.",
        )


def _settle(folder: Path, kept: list[str]) -> None:
    """Ends an operation: what is still kept aside has a journal, and all else is deleted."""
    if not kept:
        _finish(folder)
        return
    _note(folder, Journal("installed", aside=kept))
    for name in ("new", "out"):
        shutil.rmtree(folder / _STORE / name, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Deletes what only a journal needs; by one rename, so that no half of it is read."""
    _move(folder / _STORE, folder / _DONE)
    shutil.rmtree(folder / _DONE)


def _read(folder: Path) -> Journal | None:
    try:
        return Journal(**json.loads((folder / _STORE / "journal").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _note(folder: Path, journal: Journal) -> None:
    part = folder / _STORE / "journal.part"
    _write(part, json.dumps(asdict(journal)).encode())
    _move(part, folder / _STORE / "journal")


def _move(source: Path, target: Path) -> None:
    os.rename(source, target)
    if os.name == "posix":  # elsewhere folders cannot be opened
        for parent in {source.parent, target.parent}:
            place = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(place)
            finally:
                os.close(place)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
