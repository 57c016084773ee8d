"""The result of the learning rate finder, under the name by which other code knows it."""

from __future__ import annotations

from fulmen.callbacks.lr_search import LRFinder as _LRFinder

__all__ = ["_LRFinder"]
