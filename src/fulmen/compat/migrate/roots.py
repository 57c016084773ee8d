"""Which of a file's names for Lightning's package may mean Fulmen: all imports that bind a name, or none of them."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.library import cst, get_full_name_for_node, m
from fulmen.compat.migrate.project import below_root

_WHOLE = "lightning.pytorch"  # the part of `lightning` that Fulmen stands for


def is_there(inner: str, imported: bool = True) -> bool:
    """Whether Fulmen has what Lightning has at a path; what lies below a class is not looked at.

    Args:
        inner: The path below the package.
        imported: Whether it is named in an import, which loads modules that attributes alone do not reach.
    """
    place: object = importlib.import_module("fulmen")
    path = "fulmen"
    for part in inner.split(".") if inner else ():
        path = f"{path}.{part}"
        try:
            if part in dir(place) or not isinstance(getattr(place, part, place), ModuleType):
                place = getattr(place, part)
            elif not imported or part.startswith("__") or importlib.util.find_spec(path) is None:
                return False
            else:
                place = importlib.import_module(path)
        except ModuleNotFoundError as error:
            return not (error.name or "").startswith("fulmen")  # it needs a package that is not installed
        if not isinstance(place, ModuleType):
            return True
    return True


def lacks(name: str, imported: bool = True, moves: bool = True) -> str | None:
    """Why a name cannot come from Fulmen; None if it can.

    Args:
        name: The full name.
        imported: See :func:`is_there`.
        moves: Whether what has another name today gets it.
    """
    inner = below_root(name) or ""
    parts = inner.split(".")
    if moves and any(".".join(parts[:end]) in table.MOVED for end in range(1, len(parts) + 1)):
        return None
    if is_there(inner, imported):
        return None
    module, _, last = inner.rpartition(".")
    if not imported and module and is_there(inner):
        return f"stays: `import fulmen` does not reach `{inner}`: write `from {name[: -len(last) - 1]} import {last}`"
    return f"stays: Fulmen has no `{inner}`"


@dataclass
class Roots:
    """What becomes of the names of a file.

    Attributes:
        left: The names whose imports stay, each with the reason.
        shortened: Those of which ``.pytorch`` goes.
    """

    left: dict[str, str] = field(default_factory=dict)
    shortened: set[str] = field(default_factory=set)


def judge(
    tree: cst.Module, meaning: Callable[[cst.CSTNode], str | None], elsewhere: Callable[[str], Iterator[str]], old: bool
) -> Roots:
    """Looks at all that a file does with its names.

    Args:
        tree: The file.
        meaning: Gives the full name of what is imported.
        elsewhere: Gives what other files do with a name that they have from this one.
        old: Whether old names are rewritten, too.
    """
    statements = m.findall(tree, m.Import() | m.ImportFrom())
    nodes = m.findall(tree, m.Attribute())
    parts = {id(one) for statement in statements for one in m.findall(statement, m.Attribute())}
    parts |= {id(node.value) for node in nodes if isinstance(node, cst.Attribute)}
    uses: dict[str, set[str]] = {}
    for node in nodes:
        full = meaning(node) if id(node) not in parts else None
        if full is not None and below_root(full) is not None:
            uses.setdefault((get_full_name_for_node(node) or "").partition(".")[0], set()).add(full)
    quoted = " ".join(
        one.value
        for annotation in m.findall(tree, m.Annotation())
        for one in m.findall(annotation, m.SimpleString())
        if isinstance(one, cst.SimpleString)
    )
    made = Roots()
    for local, name in _bound(statements):
        others = set(elsewhere(local))
        whys = [lacks(name, moves=False), *(lacks(one, False, old) for one in sorted(uses.get(local, set()) | others))]
        if "." in local:
            local = local.partition(".")[0]
            whys.append(f"stays, and so does every import that binds `{local}`: write `import {name} as ...`")
        if name == "lightning":
            if any(one.startswith(_WHOLE) for one in others) or re.search(rf"\b{local}\.pytorch\b", quoted):
                whys.append(f"stays: `{local}.pytorch` is written in a string or another file, too")
            if any(one.startswith(_WHOLE) for one in uses.get(local, ())):
                made.shortened.add(local)
        for why in filter(None, whys):
            made.left.setdefault(local, why)
    made.shortened -= set(made.left)
    return made


def _bound(statements: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """The names that stand for Lightning's package or a part of it; with dots, where the import has no other."""
    for statement in statements:
        if isinstance(statement, cst.ImportFrom):
            whole = statement.module is not None and get_full_name_for_node(statement.module) == "lightning"
            if not whole or statement.relative or isinstance(statement.names, cst.ImportStar):
                continue
            for alias in statement.names:
                if get_full_name_for_node(alias.name) == "pytorch":
                    yield alias.evaluated_alias or "pytorch", _WHOLE
        else:
            for alias in statement.names:
                name = get_full_name_for_node(alias.name) or ""
                if below_root(name) is not None and name.partition(".")[0] != "fulmen":
                    yield alias.evaluated_alias or name, name
