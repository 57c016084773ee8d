"""Lightning's import names in this process: the same objects as Fulmen's, and versions that say so."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

from fulmen.compat.paths import (
    DISTRIBUTIONS,
    OWN,
    PACKAGES,
    ROOTS,
    VERSION,
    exists,
    home,
    metadata_of,
    normalized,
    split,
)
from fulmen.compat.view import asked_by_import, children, find, known, needed, nothing_at, public, view
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.generations import older


class AliasFinder(importlib.metadata.DistributionFinder):
    """Serves Lightning's packages from Fulmen's, before any other finder is asked.

    Args:
        installed: Whether the packages on top and their distributions are installed: then only what is below is served.
    """

    def __init__(self, installed: bool = False) -> None:
        self.installed = installed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds a module that stands for one of Fulmen's.

        Args:
            fullname: The dotted path.
            path: Not used.
            target: Not used.

        Returns:
            What the import system needs, None for a path that is not Lightning's or that Fulmen has nothing for.
        """
        if fullname in PACKAGES and self.installed:
            return None
        if fullname in PACKAGES or fullname in ROOTS:
            return importlib.machinery.ModuleSpec(fullname, _Root(), is_package=True)
        parts = split(fullname)
        if parts is None:
            if fullname.partition(".")[0] in PACKAGES and _importing():
                raise ModuleNotFoundError(nothing_at(fullname, *_parts(fullname)), name=fullname)
            return None
        root, rest = parts
        if needed(rest):
            return importlib.machinery.ModuleSpec(fullname, _Shown(rest), is_package=bool(children(rest)))
        if known(rest):
            return importlib.machinery.ModuleSpec(fullname, _Same(home(rest)))
        if _importing():
            raise ModuleNotFoundError(nothing_at(fullname, root, rest), name=fullname)
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterator[importlib.metadata.Distribution]:
        """The distributions that Lightning's packages would come in.

        Args:
            context: Which ones are asked for; None for all.

        Yields:
            One for each name, of the version whose interface Fulmen has.
        """
        wanted = None if context is None else context.name
        for name in () if self.installed else DISTRIBUTIONS:
            if wanted is None or normalized(wanted) == normalized(name):
                yield _AliasDistribution(name)


class _Same(importlib.abc.InspectLoader):
    """Hands out a module of Fulmen's under another name."""

    def __init__(self, meant: str) -> None:
        self.meant = meant

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.meant)
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # the import system has put the alias's in its place

    def is_package(self, fullname: str) -> bool:
        return False

    def get_code(self, fullname: str) -> CodeType | None:
        """The code, for ``python -m``."""
        loader = _loader_of(self.meant)
        return None if loader is None else loader.get_code(self.meant)

    def get_source(self, fullname: str) -> str | None:
        """The text, for who shows code."""
        loader = _loader_of(self.meant)
        return None if loader is None else loader.get_source(self.meant)


class _Shown(_Same):
    """Hands out a view, the same one under every root."""

    def __init__(self, rest: str) -> None:
        super().__init__(home(rest))
        self.rest = rest

    def is_package(self, fullname: str) -> bool:
        return bool(children(self.rest))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = view(self.rest)
        self.own = module.__dict__.get("__spec__") or spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # that of the root under which it was imported first


class _Root(importlib.abc.Loader):
    """Makes the package on top, which has Fulmen's names, and a version of its own."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        fill(module.__dict__)


def _loader_of(module: str) -> importlib.abc.InspectLoader | None:
    spec = importlib.util.find_spec(module) if exists(module) else None
    return spec.loader if spec is not None and isinstance(spec.loader, importlib.abc.InspectLoader) else None


def _importing() -> bool:
    """Whether the import system asks in order to import, and not ``find_spec``, which is to answer None."""
    frame = sys._getframe(2).f_back  # our caller's caller's caller: this, `find_spec`, `_find_spec` of importlib
    return frame is not None and frame.f_code.co_name == "_find_and_load_unlocked"


def _parts(name: str) -> tuple[str, str]:
    root = next((root for root in ROOTS if name.startswith(root)), name.partition(".")[0])
    return root, name[len(root) + 1 :]


def fill(package: dict[str, Any]) -> None:
    """Gives a package on top its names.

    Args:
        package: Its namespace; what an installed package knows of its place stays.
    """
    names = root_of(package["__name__"])
    own = ("__file__", "__path__") if package.get("__file__") else ()
    package.update({name: value for name, value in names.items() if name not in own})


def root_of(package: str) -> dict[str, Any]:
    """What stands in a package on top of Lightning's names.

    Args:
        package: Its name.

    Returns:
        The attributes of the module.
    """
    fulmen = importlib.import_module("fulmen")
    importlib.import_module("fulmen.compat.reader").install()  # needed as soon as a library is there to read
    below = ("pytorch", "fabric") if package == "lightning" else ()
    fabric = ("Fabric", "is_wrapped") if package.startswith("lightning") and package != "lightning.pytorch" else ()

    modules = {name: split(f"{package}.{name}") is not None for name in {*children(""), *OWN}}

    def __getattr__(name: str) -> Any:
        if name in below or modules.get(name):
            return importlib.import_module(f"{package}.{name}")
        if modules.get(name) is False or (name.startswith("__") and name != "__about__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name in fabric:
            return find("fabric" if name == "Fabric" else "wrappers", name)
        try:
            return find("", name)
        except AttributeError as error:
            if asked_by_import(sys._getframe(1)):
                raise ImportError(f"cannot import name {name!r}: {error}", name=package) from None
            raise

    names = [*below, *fabric, *(name for name in public("") if modules.get(name) is not False)]
    return {
        "__version__": VERSION,
        "__path__": [],
        "__file__": fulmen.__file__,
        "__all__": names,
        "__doc__": fulmen.__doc__,
        "__getattr__": __getattr__,
        "__dir__": lambda: sorted([*names, "__version__"]),
    }


class _AliasDistribution(importlib.metadata.Distribution):
    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        return metadata_of(self._name) if filename in ("METADATA", "PKG-INFO") else None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        return importlib.metadata.distribution("fulmen").locate_file(path)


def installed() -> AliasFinder | None:
    """The finder of this process that serves Lightning's names, if there is one."""
    return next((finder for finder in sys.meta_path if type(finder) is AliasFinder), None)


def install() -> AliasFinder:
    """Serves Lightning's names in this process, from now on.

    Returns:
        The finder that serves them.

    Raises:
        MisconfiguredRun: If the real packages are imported already.
    """
    finder = installed()
    if finder is not None:
        return finder
    there = real_among(sys.modules)
    if there:
        raise MisconfiguredRun(
            "Lightning's names can stand for Fulmen only before the packages of these names are imported.",
            got=f"{', '.join(there)} in `sys.modules`",
            fix="Make `import fulmen.as_lightning` the first line of the program, or run it with `fulmen run`.",
        )
    finder = AliasFinder()
    sys.meta_path.insert(0, finder)
    importlib.invalidate_caches()
    _speak()
    return finder


def _speak() -> None:
    generation = older()
    if generation is not None:  # code that imports these names may be of 1.x in whatever it does first
        generation.speak()
        importlib.import_module("fulmen.compat.v1.torchmetrics_help").watch()


def serve(package: dict[str, Any]) -> None:
    """Makes an installed package stand for Fulmen, and serves Lightning's names in this process.

    Args:
        package: The ``globals()`` of the package.
    """
    if installed() is None:
        sys.meta_path.insert(0, AliasFinder(installed=True))
        _speak()
    fill(package)


def uninstall() -> None:
    """Takes the names back: what is imported under them later is what is installed."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not AliasFinder]
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]
    if "fulmen.compat.reader" in sys.modules:
        sys.modules["fulmen.compat.reader"].uninstall()
    generation = older()
    if generation is not None:
        generation.forget()
        importlib.import_module("fulmen.compat.v1.torchmetrics_help").forget()


def real_among(modules: Iterable[str]) -> list[str]:
    """Those of Lightning's packages that are among modules' names."""
    return [name for name in PACKAGES if name in modules]
