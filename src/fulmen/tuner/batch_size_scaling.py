"""The search of the batch size finder, at the path where other code looks for it."""

from __future__ import annotations

from fulmen.callbacks.batch_size_search import Search as _Search

__all__ = ["_Search"]
