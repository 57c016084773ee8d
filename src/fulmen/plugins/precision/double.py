"""Where people import ``DoublePrecision`` and ``LightningDoublePrecisionModule`` from."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DoublePrecision": "fulmen.precision.double",
        "LightningDoublePrecisionModule": "fulmen.core.double_module",
    },
)
