"""The loop of `fit` under the name that other code imports."""

from __future__ import annotations

from fulmen.loops.fit import FitLoop as _FitLoop

__all__ = ["_FitLoop"]
