"""Where people import ``LayerSync`` and ``TorchSyncBatchNorm`` from."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"LayerSync": "fulmen.strategies.layer_sync", "TorchSyncBatchNorm": "fulmen.strategies.layer_sync"},
)
