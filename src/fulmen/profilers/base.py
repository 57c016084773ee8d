"""Where people import ``PassThroughProfiler`` from."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"PassThroughProfiler": "fulmen.profilers.passthrough", "Profiler": "fulmen.profilers.profiler"},
)
