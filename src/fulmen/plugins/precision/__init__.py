"""Names that people import from ``plugins.precision``; each is defined in ``fulmen.precision``."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DoublePrecision": "fulmen.precision.double",
        "HalfPrecision": "fulmen.precision.half",
        "MixedPrecision": "fulmen.precision.amp",
        "Precision": "fulmen.precision.precision",
    },
)
