"""What the names mean that a file has of another by ``from ... import *``."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.compat.migrate.project import File

_KNOWN = {*sys.stdlib_module_names, "torch", "lightning", "pytorch_lightning", "fulmen"}  # what they give is known


def names(
    files: Mapping[str, File],
    path: str,
    tree: ast.Module,
    unknown: dict[tuple[int, int], str],
    seen: tuple[str, ...] = (),
) -> dict[str, str]:
    """The names that come of ``import *`` from other files of a code base, with what they mean.

    Args:
        files: The code base; of each file it is known what it imports itself.
        path: The file.
        tree: Its syntax tree.
        unknown: Is filled with the modules that cannot be followed, by the places of the statements in the file.
        seen: The files that were followed to here.
    """
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.names[0].name != "*":
            continue
        source, place = _source(files, path, node), (node.lineno, node.col_offset)
        if source is None and (node.level or (node.module or "").partition(".")[0] not in _KNOWN):
            unknown[place] = "." * node.level + (node.module or "")
        elif source is not None and source not in (*seen, path):
            other = files[source]
            deeper: dict[tuple[int, int], str] = {}
            found |= names(files, source, other.tree, deeper, (*seen, path))
            found |= other.imports
            found |= {name: f".{other.name}.{name}" for name in defined(other.tree)}
            unknown.update((place, module) for module in deeper.values())
    return {name: full for name, full in found.items() if not name.startswith("_")}


def defined(tree: ast.Module) -> set[str]:
    """What a file defines itself, on its first level."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found |= set(_stored(node))
    return found


def missing(tree: ast.Module, imports: Mapping[str, str], telling: set[str]) -> bool:
    """Whether a file derives a class from a name that it has nowhere, or uses one of those that tell Lightning."""
    wanted = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in telling}
    for node in ast.walk(tree):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            wanted |= {part.id for part in ast.walk(base) if isinstance(part, ast.Name)}
    has = {node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    has |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return bool(wanted - has - set(_stored(tree)) - set(imports) - set(dir(builtins)))


def _stored(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _source(files: Mapping[str, File], path: str, node: ast.ImportFrom) -> str | None:
    """The file of the code base that a statement means; None if there is none, or it may be one of several."""
    module, package = node.module or "", files[path].name.split(".")
    if node.level:
        up = node.level - path.endswith("__init__.py")
        wanted = ".".join([*package[: len(package) - up], *filter(None, [module])])
        return next((other for other, file in files.items() if file.name == wanted), None)
    beside = ".".join([*package[:-1], module])
    fits = [other for other, file in files.items() if f".{file.name}".endswith(f".{module}")]
    near = [other for other in fits if files[other].name == beside]
    return next(iter(near if near else fits), None) if near or len(fits) == 1 else None
