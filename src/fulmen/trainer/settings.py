"""What a Trainer was told, each part owned by who obeys it; made once, in ``flags.py``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fulmen.utilities.enums import LightningEnum


@dataclass(frozen=True)
class Duration:
    """How long to train.

    Attributes:
        max_epochs: At most so many epochs; -1: no limit; None: not given.
        min_epochs: At least so many, even if somebody asks to stop.
        max_steps: At most so many optimizer steps; -1: no limit.
        min_steps: At least so many.
        max_time: At most so long.
    """

    max_epochs: int | None
    min_epochs: int | None
    max_steps: int
    min_steps: int | None
    max_time: timedelta | None


@dataclass(frozen=True)
class Limits:
    """How many batches of each loader: an int is a number, a float a fraction."""

    train: int | float
    val: int | float
    test: int | float
    predict: int | float
    overfit: int | float


@dataclass(frozen=True)
class Validation:
    """When to validate.

    Attributes:
        interval: Batches (int), a fraction of the epoch (float), or a time.
        every_n_epoch: In which epochs; None: batches are counted across epochs.
        sanity_steps: Batches to try before training; infinite: all.
    """

    interval: int | float | timedelta
    every_n_epoch: int | None
    sanity_steps: int | float


@dataclass(frozen=True)
class Optimization:
    """How gradients become steps."""

    accumulate: int
    exact_accumulation: bool
    clip_value: int | float | None
    clip_algorithm: LightningEnum | None
    detect_anomaly: bool


@dataclass(frozen=True)
class Display:
    """What is shown, logged and kept, and how often."""

    progress_bar: bool
    model_summary: bool
    checkpointing: bool
    log_every_n_steps: int


@dataclass(frozen=True)
class Settings:
    """All settings that are plain values."""

    duration: Duration
    limits: Limits
    validation: Validation
    optimization: Optimization
    display: Display
    fast_dev_run: int
    barebones: bool
