"""Lightning's import names in this process: the same objects as Fulmen's, and versions that say so."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from fulmen.compat.paths import DISTRIBUTIONS, PACKAGES, ROOTS, VERSION, counterpart
from fulmen.utilities.exceptions import MisconfiguredRun


class AliasFinder(importlib.metadata.DistributionFinder):
    """Serves Lightning's packages from Fulmen's, before any other finder is asked."""

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
        if fullname in PACKAGES or fullname in ROOTS:
            return importlib.machinery.ModuleSpec(fullname, _Root(), is_package=True)
        meant = counterpart(fullname)
        if meant is None or not _exists(meant):
            return None
        return importlib.machinery.ModuleSpec(fullname, _Same(meant), is_package=True)

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
        for name in DISTRIBUTIONS:
            if wanted is None or normalized(wanted) == normalized(name):
                yield _AliasDistribution(name)


class _Same(importlib.abc.Loader):
    """Hands out a module of Fulmen's under another name."""

    def __init__(self, meant: str) -> None:
        self.meant = meant

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.meant)
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # the import system has put the alias's in its place


class _Root(importlib.abc.Loader):
    """Makes the package on top, which has Fulmen's names, and a version of its own."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(root_of(module.__name__))


def root_of(package: str) -> dict[str, Any]:
    """What stands in a package on top of Lightning's names.

    Args:
        package: Its name.

    Returns:
        The attributes of the module.
    """
    fulmen = importlib.import_module("fulmen")
    below = ("pytorch", "fabric") if package == "lightning" else ()

    def __getattr__(name: str) -> Any:
        if name in below:
            return importlib.import_module(f"{package}.{name}")
        if name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(fulmen, name)

    return {
        "__version__": VERSION,
        "__path__": [],
        "__all__": [*below, *fulmen.__all__],
        "__doc__": fulmen.__doc__,
        "__getattr__": __getattr__,
        "__dir__": lambda: sorted([*below, *fulmen.__all__, "__version__"]),
    }


class _AliasDistribution(importlib.metadata.Distribution):
    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        return metadata_of(self._name) if filename in ("METADATA", "PKG-INFO") else None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        return importlib.metadata.distribution("fulmen").locate_file(path)


def metadata_of(distribution: str) -> str:
    """The text of the metadata of a distribution that stands for Fulmen.

    Args:
        distribution: Its name.
    """
    return (
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {VERSION}\n"
        "Summary: A name under which Fulmen answers\nRequires-Dist: fulmen\n"
    )


def normalized(name: str) -> str:
    """The name of a distribution as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def installed() -> bool:
    """Whether this process serves Lightning's names."""
    return any(type(finder) is AliasFinder for finder in sys.meta_path)


def install() -> None:
    """Serves Lightning's names in this process, from now on.

    Raises:
        MisconfiguredRun: If the real packages are imported already.
    """
    if installed():
        return
    there = real_among(sys.modules)
    if there:
        raise MisconfiguredRun(
            "Lightning's names can stand for Fulmen only before the packages of these names are imported.",
            got=f"{', '.join(there)} in `sys.modules`",
            fix="Make `import fulmen.as_lightning` the first line of the program, or run it with `fulmen run`.",
        )
    sys.meta_path.insert(0, AliasFinder())
    importlib.import_module("fulmen.compat.v1.torchmetrics_help").watch()
    importlib.invalidate_caches()


def uninstall() -> None:
    """Takes the names back: what is imported under them later is what is installed."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not AliasFinder]
    importlib.import_module("fulmen.compat.v1.torchmetrics_help").forget()
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
        del sys.modules[name]


def real_among(modules: Iterable[str]) -> list[str]:
    """Those of Lightning's packages that are among modules' names."""
    return [name for name in PACKAGES if name in modules]
