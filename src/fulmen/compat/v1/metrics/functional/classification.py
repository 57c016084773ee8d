"""``pl.metrics.functional.classification`` of 1.0: the same functions."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("fulmen.compat.v1.metrics.functional"), name)
