"""The Trainer and what happens around its loops."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Trainer": "fulmen.trainer.trainer",
        "seed_everything": "fulmen.utilities.seed",
    },
)
