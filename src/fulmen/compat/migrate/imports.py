"""What becomes of old import paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.compat.migrate import table
from fulmen.compat.migrate.library import cst, get_full_name_for_node
from fulmen.compat.migrate.project import ROOTS, below_root
from fulmen.compat.migrate.roots import Roots, lacks

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


def import_from(node: cst.ImportFrom, note: Note, roots: Roots | None) -> Any:
    """Brings ``from ... import ...`` up to date.

    Args:
        node: The statement.
        note: Called with what was found.
        roots: Which names of the file may mean Fulmen; None to leave Lightning's package as it is.

    Returns:
        The statement, or several.
    """
    module = get_full_name_for_node(node.module) if node.module is not None and not node.relative else None
    inner = None if module is None else below_root(module)
    if module is None or inner is None:
        return node
    root = root_of(module)
    roots = None if root == "fulmen" else roots
    if isinstance(node.names, cst.ImportStar):
        return _everything(node, module, note, roots)
    kept: list[cst.ImportAlias] = []
    left: list[cst.ImportAlias] = []
    whole: list[cst.ImportAlias] = []
    moved: dict[str, list[cst.ImportAlias]] = {}
    for alias in node.names:
        name = get_full_name_for_node(alias.name) or ""
        full = f"{inner}.{name}" if inner else name
        remedy = remedy_of(full)
        target = table.MOVED.get(full)
        if remedy is not None:
            note(alias, full, remedy, target is not None)
        if target is None:
            why = None if roots is None else _why(alias, f"{module}.{name}", roots)
            if why is not None and remedy is None:
                note(alias, f"{module}.{name}", why, False)
            is_whole = roots is not None and f"{module}.{name}" == "lightning.pytorch"
            (left if why is not None else whole if is_whole else kept).append(alias)
            continue
        home, _, new = target.rpartition(".")
        local = alias.asname or (None if new == name else cst.AsName(cst.Name(name)))
        moved.setdefault(f"{root}.{home}" if home else root, []).append(
            alias.with_changes(name=cst.Name(new), asname=local)
        )
    statements: list[Any] = [_statement(node, module, kept)] if kept else []
    statements += [_statement(node, home, aliases) for home, aliases in moved.items()]
    if roots is not None:
        if statements or whole:
            note(node, module, f"`fulmen{'.' if inner else ''}{inner}`", True)
        statements = [_renamed(one, root) for one in statements]
        statements += [cst.Import([_as(alias, "fulmen", "pytorch")]) for alias in whole]
    statements += [_statement(node, module, left)] if left else []
    return statements[0] if len(statements) == 1 else cst.FlattenSentinel(statements)


def _why(alias: cst.ImportAlias, full: str, roots: Roots) -> str | None:
    """Why a name stays with Lightning, if it does."""
    return roots.left.get(alias.evaluated_alias or "pytorch") if full == "lightning.pytorch" else lacks(full)


def _as(alias: cst.ImportAlias, name: str, local: str) -> cst.ImportAlias:
    """What is imported under the same name as before."""
    asname = alias.asname or cst.AsName(cst.Name(local))
    return alias.with_changes(name=path(name), asname=asname, comma=cst.MaybeSentinel.DEFAULT)


def _everything(node: cst.ImportFrom, module: str, note: Note, roots: Roots | None) -> cst.ImportFrom:
    """Brings ``from ... import *`` up to date."""
    root, inner = root_of(module), below_root(module) or ""
    remedy = remedy_of(inner) if inner else None
    if remedy is not None:
        note(node, f"{inner}.*", remedy, False)
    if roots is None:
        return node
    why = lacks(module) if remedy is None else remedy
    note(node, f"{module}.*", why or f"`from fulmen{'.' if inner else ''}{inner} import *`", why is None)
    return _renamed(node, root) if why is None else node


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


def import_plain(node: cst.Import, note: Note, roots: Roots | None) -> cst.Import:
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
        if roots is not None and root != "fulmen":
            local = alias.evaluated_alias or name.partition(".")[0]
            why = roots.left.get(local)
            target = f"fulmen{'.' if inner else ''}{inner}"
            note(alias, name, f"`{target}`" if why is None else why, why is None)
            if why is None:
                alias = _as(alias, target, local).with_changes(comma=alias.comma)
        names.append(alias)
    return node.with_changes(names=names)
