"""Modules that can be served over HTTP, and the proof of it."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ServableModule": "fulmen.serve.servable_module",
        "ServableModuleValidator": "fulmen.serve.servable_module_validator",
    },
)
