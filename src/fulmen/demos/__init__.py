"""Small models and data for trying things out, and for tests."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BoringDataModule": "fulmen.demos.boring_classes",
        "BoringModel": "fulmen.demos.boring_classes",
        "DemoModel": "fulmen.demos.boring_classes",
        "LightningLSTM": "fulmen.demos.lstm",
        "LightningTransformer": "fulmen.demos.transformer",
        "SequenceSampler": "fulmen.demos.lstm",
        "SimpleLSTM": "fulmen.demos.lstm",
        "Transformer": "fulmen.demos.transformer",
        "WikiText2": "fulmen.demos.transformer",
    },
)
