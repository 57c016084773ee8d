"""What becomes of old import paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.library import cst, get_full_name_for_node
from fulmen.compat.migrate.project import ROOTS, below_root

Note = Callable[[cst.CSTNode, str, str, bool], None]


def remedy_of(inner: str) -> str | None:
    """What to write in place of a name below Lightning's package; None if it is there today."""
    if inner in table.MOVED:
        return f"`{table.MOVED[inner]}`"
    parts = inner.split(".")
    if parts[0] == "metrics" and parts[-1] in table.TASK_METRICS:
        return table.TASK.format(name=parts[-1])
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in table.GONE:
            return table.GONE[".".join(parts[:end])]
    homes = {old.rpartition(".")[0] for old in table.MOVED}
    return "`profilers`" if inner == "profiler" and inner in homes else None


def root_of(name: str) -> str:
    """The package of Lightning with which a name begins."""
    return next(root for root in ROOTS if name == root or name.startswith(f"{root}."))


def path(name: str) -> Any:
    """The node of a dotted name."""
    return cst.parse_expression(name)


def import_from(node: cst.ImportFrom, note: Note, roots: bool) -> Any:
    """Brings ``from ... import ...`` up to date.

    Args:
        node: The statement.
        note: Called with what was found.
        roots: Whether Lightning's package becomes ``fulmen``.

    Returns:
        The statement, or several.
    """
    module = get_full_name_for_node(node.module) if node.module is not None and not node.relative else None
    inner = None if module is None else below_root(module)
    if module is None or inner is None:
        return node
    if isinstance(node.names, cst.ImportStar):
        return _everything(node, module, note, roots)
    kept: list[cst.ImportAlias] = []
    moved: dict[str, list[cst.ImportAlias]] = {}
    root = root_of(module)
    for alias in node.names:
        name = get_full_name_for_node(alias.name) or ""
        full = f"{inner}.{name}" if inner else name
        remedy = remedy_of(full)
        target = table.MOVED.get(full)
        if remedy is not None:
            note(alias, full, remedy, target is not None)
        if target is None:
            kept.append(alias)
            continue
        home, _, new = target.rpartition(".")
        local = alias.asname or (None if new == name else cst.AsName(cst.Name(name)))
        moved.setdefault(f"{root}.{home}" if home else root, []).append(
            alias.with_changes(name=cst.Name(new), asname=local)
        )
    new_root = roots and root != "fulmen" and not inner.startswith("fabric")
    if roots and root != "fulmen":
        note(node, module, f"`fulmen{'.' if inner else ''}{inner}`", new_root)
    statements = [_statement(node, module, kept)] if kept else []
    statements += [_statement(node, home, aliases) for home, aliases in moved.items()]
    if new_root:
        statements = [_renamed(one, root) for one in statements]
    return statements[0] if len(statements) == 1 else cst.FlattenSentinel(statements)


def _everything(node: cst.ImportFrom, module: str, note: Note, roots: bool) -> cst.ImportFrom:
    """Brings ``from ... import *`` up to date."""
    root, inner = root_of(module), below_root(module) or ""
    remedy = remedy_of(inner) if inner else None
    if remedy is not None:
        note(node, f"{inner}.*", remedy, False)
    if not roots or root == "fulmen":
        return node
    new_root = remedy is None and not inner.startswith("fabric")
    note(node, f"{module}.*", f"`from fulmen{'.' if inner else ''}{inner} import *`", new_root)
    return _renamed(node, root) if new_root else node


def _statement(node: cst.ImportFrom, module: str, aliases: list[cst.ImportAlias]) -> cst.ImportFrom:
    before = node.names
    assert not isinstance(before, cst.ImportStar) and node.module is not None
    if len(aliases) == len(before):
        if module == get_full_name_for_node(node.module) and all(alias in before for alias in aliases):
            return node
        return node.with_changes(module=path(module), names=aliases)
    last = aliases[-1].with_changes(comma=before[-1].comma if node.lpar else cst.MaybeSentinel.DEFAULT)
    return node.with_changes(module=path(module), names=[*aliases[:-1], last])


def _renamed(node: cst.ImportFrom, root: str) -> cst.ImportFrom:
    name = get_full_name_for_node(node.module or cst.Name(root)) or root
    return node.with_changes(module=path("fulmen" + name[len(root) :]))


def import_plain(node: cst.Import, note: Note, roots: bool) -> cst.Import:
    """Brings ``import ...`` up to date; see :func:`import_from`."""
    names = []
    for alias in node.names:
        name = get_full_name_for_node(alias.name) or ""
        inner = below_root(name)
        if inner is None:
            names.append(alias)
            continue
        remedy = remedy_of(inner) if inner else None
        if remedy is not None:
            note(alias, inner, remedy, False)
        root = root_of(name)
        if roots and root != "fulmen":
            safe = (alias.asname is not None or name == root) and "." not in (name if alias.asname is None else "")
            safe = safe and not inner.startswith("fabric")
            note(alias, name, f"`fulmen{'.' if inner else ''}{inner}`", safe)
            if safe:
                local = alias.asname or cst.AsName(cst.Name(root))
                alias = alias.with_changes(name=path("fulmen" + name[len(root) :]), asname=local)
        names.append(alias)
    return node.with_changes(names=names)
