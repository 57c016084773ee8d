"""Names that people import from ``plugins.io``; each is defined in ``fulmen.checkpoint``."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AsyncCheckpointIO": "fulmen.checkpoint.async_io",
        "CheckpointIO": "fulmen.checkpoint.io",
        "TorchCheckpointIO": "fulmen.checkpoint.io",
    },
)
