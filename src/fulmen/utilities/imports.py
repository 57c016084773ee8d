"""Optional packages are imported on use, and a missing one names the extra that brings it."""

from __future__ import annotations

import importlib
import importlib.util
import random
from types import ModuleType


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
