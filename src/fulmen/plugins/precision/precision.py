"""Where people import ``Precision`` from."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Precision": "fulmen.precision.precision"})
