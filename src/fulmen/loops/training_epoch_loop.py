"""The loop of an epoch under the name that other code imports."""

from __future__ import annotations

from fulmen.loops.epoch import EpochLoop as _TrainingEpochLoop

__all__ = ["_TrainingEpochLoop"]
