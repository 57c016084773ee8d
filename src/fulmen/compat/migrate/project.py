"""The classes and Trainers of a code base, read from its text: nothing is imported."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fulmen.compat.migrate import stars
from fulmen.compat.migrate.uses import Use, Uses, dotted

ROOTS = ("lightning.pytorch", "pytorch_lightning", "lightning", "fulmen")
_KINDS = {
    "LightningModule": "module",
    "LightningDataModule": "data",
    "LightningLoggerBase": "logger",
    "Logger": "logger",
    "Trainer": "trainer",
    "Callback": "callback",
}

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


def below_root(name: str) -> str | None:
    """The part of a dotted name below Lightning's package; ``""`` for the package, None if it is not Lightning's."""
    for root in ROOTS:
        if name == root:
            return ""
        if name.startswith(f"{root}."):
            return name[len(root) + 1 :]
    return None


def kind_of_name(name: str) -> str | None:
    """What a class of Lightning's is: ``"module"``, ``"data"``, ``"callback"``, ``"logger"`` or ``"trainer"``."""
    inner = below_root(name)
    if inner is None:
        return None
    last = inner.rpartition(".")[2]
    if last in _KINDS:
        return _KINDS[last]
    return "callback" if inner.startswith("callbacks.") and last[:1].isupper() else None


@dataclass
class File:
    """What is known of one file.

    Attributes:
        name: Its dotted name as a module, as far as folders tell.
        imports: What its names mean that are imported.
        tree: Its syntax tree.
        text: Its content.
        classes: The dotted names of the bases of each class, by its dotted name in the file.
        parameters: The names that a class's own ``__init__`` takes, by the name of the class.
        kinds: What each class is, where it is Lightning's.
        trainers: The names that hold a Trainer, by the place of their scope.
        moves: Expressions for ``ckpt_path=``, by the places of the calls that get them.
        moved: Places of the Trainers that such an expression leaves.
        uses: What it uses of methods, by their names.
        starred: What its names mean that come of ``import *`` from another file of the code base.
        unknown: The modules of which ``import *`` cannot be followed, by the places of the statements.
        mixed: What the classes are into which a class is mixed that is not Lightning's itself.
    """

    name: str
    tree: ast.Module
    text: str
    imports: dict[str, str] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)
    parameters: dict[str, set[str]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    trainers: dict[tuple[int, int], set[str]] = field(default_factory=dict)
    moves: dict[tuple[int, int], str] = field(default_factory=dict)
    moved: set[tuple[int, int]] = field(default_factory=set)
    uses: dict[str, list[Use]] = field(default_factory=dict)
    starred: dict[str, str] = field(default_factory=dict)
    unknown: dict[tuple[int, int], str] = field(default_factory=dict)
    mixed: dict[str, str] = field(default_factory=dict)

    def settings(self, name: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """The keys, each with its place, of the dictionaries that a name holds somewhere in the file."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Assign) or name not in map(dotted, node.targets):
                continue
            if isinstance(node.value, ast.Dict):
                for key in node.value.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, place_of(key)
            elif isinstance(node.value, ast.Call) and dotted(node.value.func) == "dict":
                for word in node.value.keywords:
                    if word.arg is not None:
                        yield word.arg, place_of(word)


class Project:
    """All files of a code base.

    Args:
        sources: The text of each file, by its path; what cannot be parsed is left out.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.files: dict[str, File] = {}
        for path, text in sources.items():
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            module = path.removesuffix(".py").removesuffix("/__init__").replace("\\", "/").replace("/", ".")
            self.files[path] = File(module, tree, text)
        for file in self.files.values():
            file.imports = _imports(file.tree)
        for path, file in self.files.items():
            self._follow(path, file)
        for path in self.files:
            self._learn_kinds(path)
        for path in self.files:
            _find_trainers(self, path)
        for file in self.files.values():
            for name, kind in file.kinds.items():
                self._mix(file, name, kind)
        found = [base for file in self.files.values() for bases in file.classes.values() for base in bases]
        self.bases = {base.rpartition(".")[2] for base in found}

    def replaced(self, path: str, text: str) -> Project:
        """The code base with another content of one file, which defines the same classes."""
        made = copy.copy(self)
        made.files = dict(self.files)
        file = made.files[path] = File(self.files[path].name, ast.parse(text), text)
        file.mixed = self.files[path].mixed
        file.imports = _imports(file.tree)
        made._follow(path, file)
        made._learn_kinds(path)
        _find_trainers(made, path)
        return made

    def _follow(self, path: str, file: File) -> None:
        """Reads a file, with what it has of others by ``import *``."""
        own = stars.defined(file.tree)
        found = stars.names(self.files, path, file.tree, file.unknown)
        file.starred = {name: full for name, full in found.items() if name not in own and name not in file.imports}
        _read(file)

    def unjudged(self, path: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """The modules from which a file has names that are not known, with the places of its ``import *``."""
        file = self.files[path]
        if file.unknown and stars.missing(file.tree, file.imports, {*_KINDS, "pl"}):
            yield from ((module, place) for place, module in file.unknown.items())

    def uses_of(self, path: str, name: str) -> Iterator[str]:
        """What other files do with a name for Lightning's package that they have from a file: full names."""
        mine = self.files[path]
        for file in self.files.values():
            theirs = file.imports.get(name, "")
            if file is mine or not (name in file.starred or theirs.endswith(f"{mine.name.rpartition('.')[2]}.{name}")):
                continue
            for node in ast.walk(file.tree):
                written = dotted(node) or ""
                if isinstance(node, ast.Attribute) and written.startswith(f"{name}."):
                    yield f"{mine.imports.get(name, name)}{written[len(name) :]}"

    def _learn_kinds(self, path: str) -> None:
        file = self.files[path]
        for name in file.classes:
            kind = self._kind(file, name, ())
            if kind is not None:
                file.kinds[name] = kind

    def kind(self, path: str, name: str) -> str | None:
        """What a class is.

        Args:
            path: The file in which it is named.
            name: Its dotted name, as it is imported, or as it stands in the file.
        """
        known = kind_of_name(name)
        if known is not None or path not in self.files:
            return known
        file = self.files[path]
        return file.kinds.get(name) or self._elsewhere(file, name, ())

    def own_names(self, path: str, name: str) -> set[str]:
        """The names that a class of a file sets itself, or one of the project from which it derives.

        Args:
            path: The file.
            name: The class, by its dotted name there.
        """
        found: set[str] = set()
        seen = set()
        queue = [name.rpartition(".")[2]]
        while queue:
            last = queue.pop()
            if last in seen:
                continue
            seen.add(last)
            for file in self.files.values():
                for node in ast.walk(file.tree):
                    if isinstance(node, ast.ClassDef) and node.name == last:
                        found |= set(_own(node))
                        queue += [base.rpartition(".")[2] for base in map(dotted, node.bases) if base]
        return found

    def own_flags(self, path: str, name: str) -> set[str] | None:
        """What a class that derives from the Trainer takes by itself; None where it leaves ``__init__`` alone.

        Args:
            path: The file in which it is named.
            name: Its dotted name, as it is imported, or as it stands in the file.
        """
        found: set[str] | None = None
        seen: list[tuple[File, str]] = []
        queue = self._homes(self.files[path], name) if path in self.files else []
        while queue:
            file, last = queue.pop()
            if (file, last) in seen:
                continue
            seen.append((file, last))
            made = file.parameters.get(last)
            found = found if made is None else (found or set()) | made
            queue += [home for base in file.classes.get(last, ()) for home in self._homes(file, base)]
        return found

    def uses(self, name: str) -> list[Use]:
        """The places that use a method, by its name; without what goes to a class of Lightning's."""
        return [use for file in self.files.values() for use in file.uses.get(name, ())]

    def is_called_as_of_old(self, name: str, parameters: dict[str, bool], gone: list[str]) -> bool:
        """Whether somebody passes a method what it takes no more; see :meth:`Use.reaches`."""
        classes = {one.rpartition(".")[2] for file in self.files.values() for one in file.classes}
        return any(use.reaches(parameters, gone, classes) for use in self.uses(name))

    def _kind(self, file: File, name: str, seen: tuple[object, ...]) -> str | None:
        if (id(file), name) in seen:
            return None
        seen = (*seen, (id(file), name))
        for base in file.classes.get(name, ()):
            known = kind_of_name(base)
            if known is None and base in file.classes:
                known = self._kind(file, base, seen)
            if known is None:
                known = self._elsewhere(file, base, seen)
            if known is not None:
                return known
        return None

    def _mix(self, file: File, name: str, kind: str) -> None:
        """Notes what the bases of a class are mixed into."""
        for base in file.classes.get(name, ()):
            for other, last in self._homes(file, base):
                if other.kinds.get(last) is None and last not in other.mixed:
                    other.mixed[last] = kind
                    self._mix(other, last, kind)

    def _homes(self, file: File, name: str) -> list[tuple[File, str]]:
        """The classes of the project that a name may mean."""
        if name in file.classes:
            return [(file, name)]
        module, _, last = name.lstrip(".").rpartition(".")
        if not module and not name.startswith("."):
            return []
        return [
            (other, last)
            for other in self.files.values()
            if other is not file
            and last in other.classes
            and (other.name == module or other.name.endswith(f".{module}") or not module)
        ]

    def _elsewhere(self, file: File, name: str, seen: tuple[object, ...]) -> str | None:
        """What a class of another file of the project is; relative imports may go up any number of folders."""
        if name in file.classes and not name.startswith("."):
            return None
        kinds = (self._kind(other, last, seen) for other, last in self._homes(file, name))
        return next((kind for kind in kinds if kind is not None), None)


def _own(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield part.name
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and dotted(part.value) == "self":
            yield part.attr
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def _imports(tree: ast.AST) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                found[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = "." * node.level + (node.module or "")
                if alias.name == "*":
                    inner = below_root(module)
                    names = _KINDS if inner == "" else ("Callback",) if inner == "callbacks" else ()
                    found |= {name: f"{module}.{name}" for name in names}
                    continue
                found[alias.asname or alias.name] = f"{module}.{alias.name}" if module.strip(".") else f".{alias.name}"
    return found


def _resolved(name: str | None, imports: Mapping[str, str]) -> str:
    if name is None:
        return ""
    first, _, rest = name.partition(".")
    start = imports.get(first, first)
    return f"{start}.{rest}" if rest else start


def _classes(node: ast.AST, imports: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            name = f"{prefix}{child.name}"
            bases = [base.value if isinstance(base, ast.Subscript) else base for base in child.bases]
            yield name, [_resolved(dotted(base), imports) for base in bases]
            yield from _classes(child, imports, f"{name}.")
        else:
            yield from _classes(child, imports, prefix)


def _parameters(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """The names that each class's own ``__init__`` takes, by the dotted name of the class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            for part in child.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    args = part.args
                    yield (
                        f"{prefix}{child.name}",
                        {one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs)},
                    )
            yield from _parameters(child, f"{prefix}{child.name}.")
        else:
            yield from _parameters(child, prefix)


def _read(file: File) -> None:
    """Notes the classes of a file, and which methods it uses."""
    imports = file.imports = file.starred | file.imports
    file.classes = dict(_classes(file.tree, imports))
    file.parameters = dict(_parameters(file.tree))

    def is_first(name: str) -> bool:
        bases = file.classes.get(name)
        return bool(bases) and all(kind_of_name(base) is not None for base in bases or ())

    for use in Uses(file.tree, is_first, lambda name: kind_of_name(_resolved(name, imports)) is not None).found:
        file.uses.setdefault(use.name, []).append(use)


def _find_trainers(project: Project, path: str) -> None:
    """Notes which names of which scope hold a Trainer, and where a path to go on from can move to."""
    file = project.files[path]
    imports = file.imports

    def makes_trainer(node: ast.AST | None) -> bool:
        if not isinstance(node, ast.Call):
            return False
        name = _resolved(dotted(node.func), imports).removesuffix(".from_argparse_args")
        return project.kind(path, name) == "trainer"

    scopes: list[Scope] = [node for node in ast.walk(file.tree) if isinstance(node, Scope)]
    for scope in scopes:
        names: set[str] = set()
        made: dict[str, list[ast.Call]] = {}
        for node in _within(scope):
            if isinstance(node, ast.Assign) and makes_trainer(node.value):
                for name in filter(None, map(dotted, node.targets)):
                    names.add(name)
                    made.setdefault(name, []).append(node.value)  # type: ignore[arg-type]
        file.trainers[place_of(scope)] = names
        for name, calls in made.items():
            if len(calls) == 1 and project.own_flags(path, _resolved(dotted(calls[0].func), imports)) is None:
                _move_resumption(file, scope, name, calls[0])


def place_of(node: ast.AST) -> tuple[int, int]:
    """Where a node begins; the module at the very start."""
    return (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _within(child)


def _move_resumption(file: File, scope: Scope, name: str, call: ast.Call) -> None:
    value = next((word.value for word in call.keywords if word.arg == "resume_from_checkpoint"), None)
    if not isinstance(value, (ast.Constant, ast.Name, ast.Attribute)) or any(w.arg is None for w in call.keywords):
        return
    if any(isinstance(arg, ast.Starred) for arg in call.args):
        return
    if isinstance(value, ast.Constant) and value.value is None:
        return
    fits = [node for node in ast.walk(file.tree) if isinstance(node, ast.Call) and dotted(node.func) == f"{name}.fit"]
    mine = [node for node in _within(scope) if node in fits]
    if len(fits) != 1 or len(mine) != 1 or len(fits[0].args) > 4:
        return
    if all(word.arg not in (None, "ckpt_path") for word in fits[0].keywords):
        file.moves[place_of(fits[0])] = ast.unparse(value)
        file.moved.add(place_of(call))
