"""The flags of ``pytorch_lightning.utilities.imports``, such as ``_TORCH_GREATER_EQUAL_1_8`` and ``_APEX_AVAILABLE``.

Code of every generation imports some of the hundred that there were, so they are worked out from their names.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys

from fulmen.utilities.imports import available, numbers_of

_COMPARES = {
    "GREATER_EQUAL": lambda has, asked: has >= asked,
    "GREATER_THAN": lambda has, asked: has > asked,
    "LOWER_EQUAL": lambda has, asked: has <= asked,
    "LESS_EQUAL": lambda has, asked: has <= asked,
    "LESS_THAN": lambda has, asked: has < asked,
    "EQUAL": lambda has, asked: has == asked,
}
_COMPARISON = re.compile(rf"_([A-Z0-9]+?(?:_[A-Z0-9]+?)*?)_({'|'.join(_COMPARES)})_(\d+(?:_\d+)*)")
_AVAILABLE = re.compile(r"_([A-Z0-9]+(?:_[A-Z0-9]+)*)_AVAILABLE")
# Modules whose names are not the flag's in small letters.
_MODULES = {"APEX": "apex", "FAIRSCALE": "fairscale", "HYDRA": "hydra", "XLA": "torch_xla", "KINETO": "torch"}


def __getattr__(name: str) -> bool:
    """Whether what a flag asks for is so."""
    if name == "_IS_WINDOWS":
        return os.name == "nt"
    if name == "_IS_INTERACTIVE":
        return hasattr(sys, "ps1")
    compared = _COMPARISON.fullmatch(name)
    if compared is not None:
        package, how, version = compared[1], compared[2], numbers_of(compared[3].replace("_", "."))
        has = _version_of(package)
        return has is not None and _COMPARES[how](has, version)
    asked = _AVAILABLE.fullmatch(name)
    if asked is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return available(_module(asked[1]))


def _module(package: str) -> str:
    return _MODULES.get(package, package.lower())


def _version_of(package: str) -> tuple[int, ...] | None:
    if package == "PYTHON":
        return tuple(sys.version_info[:3])
    try:
        return numbers_of(importlib.metadata.version(_module(package)))
    except importlib.metadata.PackageNotFoundError:
        return None
