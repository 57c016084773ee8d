"""Profilers of 1.x by their old names: ``AbstractProfiler`` and ``BaseProfiler``."""

from __future__ import annotations

from typing import Any

from fulmen.compat import v1
from fulmen.profilers.profiler import Profiler


def __getattr__(name: str) -> Any:
    if name not in ("AbstractProfiler", "BaseProfiler"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    v1.speak()
    return Profiler
