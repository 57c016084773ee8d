"""What users subclass: modules, data modules, and the hooks of both."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "LightningDataModule": "fulmen.core.datamodule",
        "LightningModule": "fulmen.core.module",
    },
)
