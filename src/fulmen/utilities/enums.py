"""Choices that arguments take, as strings with names."""

from __future__ import annotations

from enum import Enum


class LightningEnum(str, Enum):
    """A string with a fixed set of values; compares without regard to case."""

    @classmethod
    def from_str(cls, value: str) -> LightningEnum | None:
        """The member whose value is ``value``, or None."""
        return next((member for member in cls if member.value == value.lower()), None)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Enum):
            other = other.value
        return isinstance(other, str) and self.value.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.value.lower())

    def __str__(self) -> str:
        return str(self.value)


class GradClipAlgorithmType(LightningEnum):
    """How gradients are clipped: each element (``value``) or all together (``norm``)."""

    VALUE = "value"
    NORM = "norm"

    @classmethod
    def supported_type(cls, value: str) -> bool:
        """Whether ``value`` names one of them."""
        return cls.from_str(value) is not None

    @classmethod
    def supported_types(cls) -> list[str]:
        """The names."""
        return [str(member) for member in cls]
