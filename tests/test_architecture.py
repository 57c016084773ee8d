"""The shape of the code, read from its text: who imports whom, how long a file and a function are, what is documented.

An import counts wherever it stands, also inside a function; only imports under `if TYPE_CHECKING` are free, because
they never run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import fulmen

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(fulmen.__file__).parent

# Each layer imports only itself and those before it. `plugins` and the facade re-export, so they come last.
LAYERS = (
    "utilities",
    "accelerators",
    "precision",
    "environments",
    "strategies",
    "core",
    "data",
    "checkpoint",
    "callbacks",
    "loggers",
    "profilers",
    "loops",
    "trainer",
    "tuner",
    "compat",
    "cli",
    "serve",
    "demos",
    "plugins",
    "__main__",
    "as_lightning",
)
FILE_LINES = 300
FUNCTION_LINES = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _source(module: str) -> str:
    return FILES[module].read_text(encoding="utf-8")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


def _layer(module: str) -> int:
    """Where a module stands; the facade on top of all."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 else len(LAYERS)


def _running(node: ast.AST, into_functions: bool = True) -> Iterator[ast.AST]:
    """All nodes below one that can run: without `if TYPE_CHECKING` blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _running(other, into_functions)
        elif into_functions or not isinstance(child, Function):
            yield child
            yield from _running(child, into_functions)


def _imports(module: str, into_functions: bool = True) -> Iterator[tuple[str, str | None]]:
    """What a module imports: the module's whole name, and the name taken from it, if any."""
    for node in _running(_tree(module), into_functions):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield (submodule, None) if submodule in FILES else (str(node.module), alias.name)


def _own_imports(module: str) -> set[str]:
    return {name for name, _ in _imports(module) if name.split(".")[0] == "fulmen"}


def test_every_folder_is_a_layer() -> None:
    folders = {name.split(".")[1] for name in FILES if "." in name}
    assert folders == set(LAYERS)


def test_imports_only_what_lies_below() -> None:
    above = [(module, name) for module in FILES for name in _own_imports(module) if _layer(name) > _layer(module)]
    assert not above, f"imports from a higher layer: {above}"


def test_names_come_from_the_module_that_defines_them() -> None:
    """Not from the facade, and not from a package: its lazy table would hide who depends on whom."""
    through_a_package = [
        (module, f"from {source} import {name}")
        for module in FILES
        for source, name in _imports(module)
        if source in FILES and FILES[source].name == "__init__.py" and (name or source == "fulmen")
    ]
    assert not through_a_package, f"imported through a package: {through_a_package}"


def test_no_import_cycle() -> None:
    """Imports inside functions count as well: a cycle that only shows on the second call is one all the same."""
    graph = {module: _own_imports(module) & FILES.keys() for module in FILES}
    done: set[str] = set()
    cycles: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            cycles.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert not cycles, f"import cycles: {cycles}"


def test_only_torch_is_imported_with_a_module() -> None:
    allowed = {"torch", "fulmen", *sys.stdlib_module_names}
    others = [
        (module, name)
        for module in FILES
        for name, _ in _imports(module, into_functions=False)
        if name.split(".")[0] not in allowed
    ]
    assert not others, f"imported at module level, instead of with fulmen.utilities.imports.require: {others}"


@cache
def _code_lines(module: str) -> set[int]:
    """The lines of a file that hold code: no blank lines, no comments, no docstrings."""
    nothing = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
        tokenize.ENCODING,
    }
    lines: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(_source(module).encode()).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def test_files_are_short() -> None:
    long = {module: count for module in FILES if (count := len(_code_lines(module))) >= FILE_LINES}
    assert not long, f"files of {FILE_LINES} lines of code or more: {long}"


def test_functions_are_short() -> None:
    """Counts the body: no signature, no docstring."""
    long = {
        f"{module}:{node.name}": count
        for module in FILES
        for node in ast.walk(_tree(module))
        if isinstance(node, Function)
        if (count := len(_code_lines(module).intersection(range(node.body[0].lineno, (node.end_lineno or 0) + 1))))
        >= FUNCTION_LINES
    }
    assert not long, f"functions of {FUNCTION_LINES} lines of code or more: {long}"


def test_what_is_public_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.compat.alias.install", lambda: None)  # importing `fulmen.as_lightning` calls it
    bare = [name for module in FILES for name in _undocumented(importlib.import_module(module))]
    assert not bare, f"no docstring: {bare}"


def _undocumented(module: ModuleType) -> Iterator[str]:
    """Public functions, classes and methods of a module without a docstring, their own or an inherited one."""
    if not module.__doc__:
        yield module.__name__
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) and not value.__doc__:
            yield f"{module.__name__}.{name}"
        elif inspect.isclass(value):
            # A dataclass without a docstring gets its signature as one.
            if not value.__doc__ or value.__doc__.startswith(f"{name}("):
                yield f"{module.__name__}.{name}"
            yield from (f"{module.__name__}.{name}.{member}" for member in _undocumented_methods(value))


def _undocumented_methods(owner: type) -> Iterator[str]:
    for name, member in vars(owner).items():
        method = inspect.isfunction(member) or isinstance(member, (staticmethod, classmethod, property))
        if method and not name.startswith("_"):
            documented = inspect.getdoc(member) or inspect.getdoc(getattr(owner, name))
            inherited = any(
                inspect.getdoc(getattr(base, name, None)) for base in owner.__mro__[1:] if name in vars(base)
            )
            if not documented and not inherited:
                yield name


def test_extras_that_errors_name_bring_the_package() -> None:
    """`require` tells the user to install an extra, so the extra has to exist and to hold the package."""
    wrong = []
    for module in FILES:
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                package, extra = node.args[:2]
                wanted = ast.literal_eval(extra)
                names = [value.value for value in ast.walk(package) if isinstance(value, ast.Constant)]
                roots = {name.split(".")[0] for name in names if isinstance(name, str)}
                if not roots <= _brought_by(wanted):
                    wrong.append((module, roots, wanted))
    assert not wrong, f"extras that do not bring what they are named for: {wrong}"


IMPORTED_AS = {
    "comet-ml": "comet_ml",
    "mlflow-skinny": "mlflow",
    "pyyaml": "yaml",
    "torch-tensorrt": "torch_tensorrt",
}


@cache
def _brought_by(extra: str) -> frozenset[str]:
    """The packages that `pip install fulmen[extra]` installs, as they are imported; none if there is no such extra."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    if extra in project["optional-dependencies"]:
        for requirement in project["dependencies"] + project["optional-dependencies"][extra]:
            inner = re.match(r"fulmen\[([\w,-]+)\]", requirement)
            if inner:
                found = found.union(*(_brought_by(other) for other in inner[1].split(",")))
            else:
                distribution = re.split(r"[^\w-]", requirement.lower())[0]
                found.add(IMPORTED_AS.get(distribution, distribution))
    return frozenset(found)
