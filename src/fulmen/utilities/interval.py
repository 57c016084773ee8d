"""One value for every way to say how often or how long: fractions, batches, steps, epochs, time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from fulmen.utilities.exceptions import MisconfigurationException

Unit = Literal["epoch fraction", "batches", "steps", "epochs", "seconds"]

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")
_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SECONDS = {"second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400}
_COUNTS: dict[str, Unit] = {"batch": "batches", "batche": "batches", "step": "steps", "epoch": "epochs"}


@dataclass(frozen=True)
class Interval:
    """How often something happens, or how long it may take.

    Args:
        value: The amount, in `unit`.
        unit: ``"epoch fraction"`` (of an epoch's batches), ``"batches"``, ``"steps"`` (of the optimizer),
            ``"epochs"`` or ``"seconds"``.
    """

    value: float
    unit: Unit

    @classmethod
    def parse(cls, given: Any, name: str = "interval") -> Interval:
        """Reads any of the spellings.

        Args:
            given: A float from 0 to 1 (a fraction of an epoch), an int (batches), a `timedelta` or its arguments as a
                dict, a string like ``"DD:HH:MM:SS"``, ``"30 minutes"``, ``"500 steps"``, ``"100 batches"`` or
                ``"2 epochs"``, or an `Interval`.
            name: The argument it was given as, for the error text.

        Returns:
            The interval.

        Raises:
            MisconfigurationException: If it is none of these, or negative.

        Example:
            >>> Interval.parse(0.25)
            Interval(value=0.25, unit='epoch fraction')
            >>> Interval.parse("500 steps")
            Interval(value=500, unit='steps')
            >>> Interval.parse("00:01:00:00").seconds
            3600.0
        """
        interval = cls._read(given)
        if interval is None or interval.value < 0:
            raise MisconfigurationException(
                f"`{name}` must be a fraction of an epoch, a number of batches, or a time.",
                got=given,
                fix='For example 0.25, 100, "500 steps", "00:01:00:00" (DD:HH:MM:SS) or timedelta(hours=1).',
            )
        return interval

    @classmethod
    def duration(cls, given: Any, name: str = "duration") -> Interval:
        """Reads those spellings that are a time.

        Args:
            given: A `timedelta` or its arguments as a dict, or a string like ``"DD:HH:MM:SS"`` or ``"30 minutes"``.
            name: The argument it was given as, for the error text.

        Returns:
            The interval, in seconds.

        Raises:
            MisconfigurationException: If it is no time, or negative.
        """
        interval = cls._read(given)
        if interval is None or interval.unit != "seconds" or interval.value < 0:
            raise MisconfigurationException(
                f"`{name}` must be a time.",
                got=given,
                fix='Write it as "DD:HH:MM:SS", such as "00:01:30:00", or as timedelta(hours=1.5).',
            )
        return interval

    @classmethod
    def _read(cls, given: Any) -> Interval | None:
        if isinstance(given, Interval):
            return given
        if isinstance(given, timedelta):
            return cls(given.total_seconds(), "seconds")
        if isinstance(given, Mapping):
            try:
                return cls(timedelta(**given).total_seconds(), "seconds")
            except TypeError:
                return None
        if isinstance(given, str):
            return cls._read_words(given.strip().lower())
        if isinstance(given, int) and not isinstance(given, bool):
            return cls(given, "batches")
        if isinstance(given, float) and 0 <= given <= 1:
            return cls(given, "epoch fraction")
        return None

    @classmethod
    def _read_words(cls, text: str) -> Interval | None:
        clock = _CLOCK.fullmatch(text)
        if clock is not None:
            days, hours, minutes, seconds = map(int, clock.groups())
            return cls(((days * 24 + hours) * 60 + minutes) * 60.0 + seconds, "seconds")
        words = _WORDS.fullmatch(text)
        if words is None:
            return None
        amount, word = float(words[1]), words[2]
        singular = word[:-1] if len(word) > 1 and word.endswith("s") else word
        if singular in _SECONDS:
            return cls(amount * _SECONDS[singular], "seconds")
        unit = _COUNTS.get(singular)
        return cls(int(amount), unit) if unit is not None and amount.is_integer() else None

    @property
    def seconds(self) -> float:
        """The time, for an interval that is one.

        Raises:
            ValueError: If it counts something else.
        """
        if self.unit != "seconds":
            raise ValueError(f"An interval in {self.unit} has no length in seconds.")
        return self.value
