"""Fulmen: the training interface of PyTorch Lightning, at the cost of a hand-written loop.

The names here are imported when they are first used, so that ``import fulmen`` costs little more than ``import torch``.
"""

from __future__ import annotations

import multiprocessing.process  # noqa: F401 - it takes note of the folder in which the program was started
import os
from typing import TYPE_CHECKING

from fulmen.utilities.generations import register
from fulmen.utilities.lazy import attach

__version__ = "0.1.0"

register("fulmen.compat.v1")
if "FULMEN_PARENT_PID" in os.environ:  # a launcher of ours has started this process
    from fulmen.utilities.parent import heed

    heed()

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Callback": "fulmen.callbacks.callback",
        "LightningDataModule": "fulmen.core.datamodule",
        "LightningModule": "fulmen.core.module",
        "Trainer": "fulmen.trainer.trainer",
        "cli_lightning_logo": "fulmen.utilities.logo",
        "seed_everything": "fulmen.utilities.seed",
        "accelerators": "fulmen.accelerators",
        "callbacks": "fulmen.callbacks",
        "checkpoint": "fulmen.checkpoint",
        "cli": "fulmen.cli",
        "core": "fulmen.core",
        "data": "fulmen.data",
        "demos": "fulmen.demos",
        "loggers": "fulmen.loggers",
        "loops": "fulmen.loops",
        "plugins": "fulmen.plugins",
        "profilers": "fulmen.profilers",
        "serve": "fulmen.serve",
        "strategies": "fulmen.strategies",
        "trainer": "fulmen.trainer",
        "tuner": "fulmen.tuner",
        "utilities": "fulmen.utilities",
    },
)

if TYPE_CHECKING:
    from fulmen import accelerators as accelerators
    from fulmen import callbacks as callbacks
    from fulmen import checkpoint as checkpoint
    from fulmen import cli as cli
    from fulmen import core as core
    from fulmen import data as data
    from fulmen import demos as demos
    from fulmen import loggers as loggers
    from fulmen import loops as loops
    from fulmen import plugins as plugins
    from fulmen import profilers as profilers
    from fulmen import serve as serve
    from fulmen import strategies as strategies
    from fulmen import trainer as trainer
    from fulmen import tuner as tuner
    from fulmen import utilities as utilities
    from fulmen.callbacks.callback import Callback as Callback
    from fulmen.core.datamodule import LightningDataModule as LightningDataModule
    from fulmen.core.module import LightningModule as LightningModule
    from fulmen.trainer.trainer import Trainer as Trainer
    from fulmen.utilities.logo import cli_lightning_logo as cli_lightning_logo
    from fulmen.utilities.seed import seed_everything as seed_everything
