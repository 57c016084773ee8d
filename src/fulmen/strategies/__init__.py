"""Where the model lies, and how several processes act as one."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DDPStrategy": "fulmen.strategies.ddp",
        "ParallelStrategy": "fulmen.strategies.parallel",
        "SingleDeviceStrategy": "fulmen.strategies.single_device",
        "Strategy": "fulmen.strategies.strategy",
        "StrategyRegistry": "fulmen.strategies.registry",
    },
)
