"""What a run's state is, how it gets to disk and back."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CheckpointIO": "fulmen.checkpoint.io",
        "TorchCheckpointIO": "fulmen.checkpoint.io",
        "export_safetensors": "fulmen.checkpoint.export",
        "register": "fulmen.utilities.registered",
    },
)
