"""Optional packages are imported on use, and a missing one names the extra that brings it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import random
import re
import sys
from types import ModuleType
from typing import Any


def available(package: str) -> bool:
    """Whether ``package`` could be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def require(package: str, extra: str, purpose: str) -> ModuleType:
    """Imports an optional package.

    Args:
        package: The module to import, for example ``"rich.progress"``.
        extra: The extra of Fulmen that installs it, for example ``"rich"``.
        purpose: Who needs it, for the error text, for example ``"RichProgressBar"``.

    Returns:
        The imported module.

    Raises:
        ModuleNotFoundError: If it is not installed; says how to install it.
    """
    state = random.getstate()  # rich draws from it when it is imported, which must not reach training
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        root = package.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs the package `{root}`, which is not installed.\n"
            f"What to do: `pip install fulmen[{extra}]`, or `pip install {root}`.",
            name=root,
        ) from None
    finally:
        random.setstate(state)


_FLAG = re.compile(r"_(RICH|OMEGACONF|TORCHVISION|TORCHMETRICS|TORCH)_(?:AVAILABLE|GREATER_EQUAL_(\d+(?:_\d+)*))")


def __getattr__(name: str) -> Any:
    """Flags that other packages import, such as ``_TORCHMETRICS_GREATER_EQUAL_1_0_0`` and ``_RICH_AVAILABLE``."""
    asked = _FLAG.fullmatch(name)
    if asked is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package, version = asked[1].lower(), asked[2]
    if version is None or not available(package):
        return available(package)
    return at_least(importlib.metadata.version(package), version.replace("_", "."))


def at_least(version: str, other: str) -> bool:
    """Whether a version is not before another; of both only the numbers before any letter count."""
    return numbers_of(version) >= numbers_of(other)


def numbers_of(version: str) -> tuple[int, ...]:
    """The three numbers of a version, such as ``(1, 6, 0)`` for ``"1.6rc1"``."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    return tuple([*numbers, 0, 0, 0][:3])


def interactive() -> bool:
    """Whether somebody sits at a prompt, who gets it back after Ctrl-C."""
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)
