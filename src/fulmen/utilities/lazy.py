"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes the three module attributes of a lazy package.

    Args:
        package: The package's ``__name__``.
        names: For each public name the module that defines it; a name that *is* a module has its own path as value.

    Returns:
        ``__getattr__``, ``__dir__`` and ``__all__`` for the package to assign.

    Example:
        ``__getattr__, __dir__, __all__ = attach(__name__, {"Callback": "fulmen.callbacks.callback"})``
    """

    def __getattr__(name: str) -> Any:
        path = names.get(name)
        if path is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(path)
        value = module if path.rpartition(".")[2] == name and not hasattr(module, name) else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__, lambda: sorted(names), sorted(names)
