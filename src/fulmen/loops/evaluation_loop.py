"""The loop of validation and test under the name that other code imports."""

from __future__ import annotations

from fulmen.loops.evaluate import EvaluationLoop as _EvaluationLoop

__all__ = ["_EvaluationLoop"]
