"""Classes that a command line knows by their names alone: all of Fulmen's that a Trainer takes."""

from __future__ import annotations

import importlib
from functools import cache

_PACKAGES = ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")


@cache
def import_all() -> None:
    """Imports callbacks, loggers, profilers and plugins, so that jsonargparse finds them among the subclasses.

    Those whose own packages are not installed are left out.
    """
    for package in _PACKAGES:
        module = importlib.import_module(f"fulmen.{package}")
        for name in module.__all__:
            try:
                getattr(module, name)
            except ImportError:
                continue
    importlib.import_module("fulmen.cli.types")
