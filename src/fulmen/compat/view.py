"""Modules under Lightning's paths whose names are spread over several modules of Fulmen."""

from __future__ import annotations

import importlib
import importlib.util
import opcode
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from fulmen.compat.names import PRESENT
from fulmen.compat.old_names import OLD, REMEDIES
from fulmen.compat.paths import FABRIC, MOVED, ONLY_FABRIC, OWN, ROOTS, exists, home
from fulmen.utilities.suggest import did_you_mean

_NOTHING = object()


class View(ModuleType):
    """A module of Lightning's: it takes each name from where it is, and hands on what is set to where it was."""

    def __init__(self, path: str) -> None:
        root = "lightning_fabric" if path.partition(".")[0] in ONLY_FABRIC else "pytorch_lightning"
        super().__init__(f"{root}.{path}", f"What Lightning has at `{path}`.")
        self.__dict__["_path"] = path

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return public(self._path)
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name in children(self._path):
            return importlib.import_module(f"{self.__name__}.{name}")
        try:
            return find(self._path, name)
        except AttributeError as error:
            if asked_by_import(sys._getframe(1)):
                raise ImportError(f"cannot import name {name!r}: {error}", name=self.__name__) from None
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        base = None if name.startswith("__") or isinstance(value, ModuleType) else base_of(self._path)
        if base is not None and hasattr(base, name):
            setattr(base, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(base_of(self._path) or self, name)

    def __dir__(self) -> list[str]:
        base = base_of(self._path)
        return sorted({*super().__dir__(), *(dir(base) if base else ()), *sources(self._path), *children(self._path)})


@cache
def view(path: str) -> View:
    """The one view of a path below a root: all roots share it."""
    return View(path)


def needed(path: str) -> bool:
    """Whether a path needs a view: a package does, since it gets its modules as attributes."""
    return path in PRESENT or path in OLD or bool(children(path))


def known(path: str) -> bool:
    """Whether Lightning's path leads to something."""
    return needed(path) or exists(home(path))


@cache
def base_of(path: str) -> ModuleType | None:
    """The module of Fulmen that a view shows first."""
    name = home(path) if path else "fulmen"
    return importlib.import_module(name) if exists(name) else None


@cache
def sources(path: str) -> dict[str, tuple[str, str]]:
    """For each name that the tables add to a path the module that has it, and its name there."""
    found: dict[str, tuple[str, str]] = {}
    for table in (OLD, PRESENT):
        for source, names in table.get(path, {}).items():
            for word in names.split() if source != "*" else ():
                name, _, there = word.partition("=")
                found[name] = (source, there or name)
    return found


@cache
def children(path: str) -> frozenset[str]:
    """The modules right below a path that lead to something."""
    start = f"{path}." if path else ""
    rows = {row[len(start) :].partition(".")[0] for row in (*PRESENT, *OLD, *MOVED) if row.startswith(start)}
    spec = importlib.util.find_spec(home(path) if path else "fulmen") if not path or exists(home(path)) else None
    folders = spec.submodule_search_locations if spec is not None else None
    own = [module.name for module in pkgutil.iter_modules(folders or [])]
    names = {name for name in own if not name.startswith("_")} | {name for name in rows if name}
    if not path:
        names -= OWN
    return frozenset(name for name in names if start + name in PRESENT or start + name in OLD or _leads(start + name))


def _leads(path: str) -> bool:
    return exists(home(path)) or any(row.startswith(f"{path}.") for row in (*PRESENT, *OLD))


def public(path: str) -> list[str]:
    """What ``from ... import *`` takes: nothing of 1.x, which would be imported with it."""
    base = base_of(path)
    own = getattr(base, "__all__", None)
    names = [name for name in dir(base) if not name.startswith("_")] if base and own is None else list(own or ())
    rows = [words for source, words in PRESENT.get(path, {}).items() if source != "*"]
    more = [word.partition("=")[0] for words in rows for word in words.split()]
    return sorted({*names, *(name for name in more if not name.startswith("_"))})


def find(path: str, name: str) -> Any:
    """What has a name at a path of Lightning's.

    Args:
        path: The path below a root; an empty string for the root itself.
        name: The name.

    Returns:
        The same object that Fulmen has.

    Raises:
        AttributeError: If there is none; says what there is.
    """
    base = base_of(path)
    try:
        return getattr(base, name)
    except AttributeError:
        pass
    source, there = sources(path).get(name, (None, name))
    stars = [table[path]["*"] for table in (PRESENT, OLD) if "*" in table.get(path, {})]
    for place in [source] if source else [] if name.startswith("__") else stars:
        if exists(f"fulmen.{place}"):
            value = getattr(importlib.import_module(f"fulmen.{place}"), there, _NOTHING)
            if value is not _NOTHING:
                return value
        elif place in REMEDIES:
            raise AttributeError(f"{_lacks(path, name)} It is of Lightning 1.x.\nWhat to do: {REMEDIES[place]}")
    others = [*sources(path), *(getattr(base, "__all__", None) or dir(base)), *children(path)]
    near = did_you_mean(name, (other for other in others if not (other.startswith("_") or (not path and other in OWN))))
    raise AttributeError(_lacks(path, name) + (f"\nWhat to do: {near}" if near else ""))


def _lacks(path: str, name: str) -> str:
    return f"Fulmen has no {name!r} at `{'.'.join(filter(None, ('pytorch_lightning', path)))}`."


def nothing_at(name: str, root: str, path: str) -> str:
    """What to say of a path that leads nowhere.

    Args:
        name: The whole path.
        root: Its root.
        path: What follows the root.
    """
    message = f"No module named {name!r}"
    remedy = REMEDIES.get(MOVED.get(path, ""))
    if remedy:
        return f"{message}: it is of Lightning 1.x.\nWhat to do: {remedy}"
    if root not in ROOTS:
        return f"{message}.\nWhat to do: Import from `lightning.pytorch` or `lightning.fabric`."
    near = did_you_mean(name, (f"{root}.{other}" for other in paths(root)))
    return f"{message}: Fulmen has nothing at this path.\nWhat to do: {near or 'Look for the name with `dir`.'}"


def paths(root: str, start: str = "") -> Iterator[str]:
    """All paths below a root that lead to something.

    Args:
        root: The root.
        start: Where to start.

    Yields:
        Paths without the root.
    """
    for name in sorted(children(start)):
        path = f"{start}.{name}" if start else name
        if start or (name in FABRIC if root.endswith("fabric") else name not in ONLY_FABRIC):
            yield path
            yield from paths(root, path)


def asked_by_import(frame: Any) -> bool:
    """Whether a name is asked for by ``from module import name``, whose errors Python would replace by its own."""
    code = frame.f_code.co_code
    return bool(0 <= frame.f_lasti < len(code)) and opcode.opname[code[frame.f_lasti]] == "IMPORT_FROM"
