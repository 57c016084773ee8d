"""The loop of `predict` under the name that other code imports."""

from __future__ import annotations

from fulmen.loops.predict import PredictionLoop as _PredictionLoop

__all__ = ["_PredictionLoop"]
