"""Profilers of 1.x by their old names."""

from __future__ import annotations

from fulmen.compat import v1
from fulmen.profilers.profiler import Profiler

v1.speak()
AbstractProfiler = BaseProfiler = Profiler
__all__ = ["AbstractProfiler", "BaseProfiler", "Profiler"]
