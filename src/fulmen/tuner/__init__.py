"""Finds a learning rate or a batch size ahead of a run."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"Tuner": "fulmen.tuner.tuning"})
