"""The Trainer's arguments of 1.x, and what they are today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def translate(
    trainer: Trainer, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Makes the Trainer's arguments of today out of those of 1.x; see ``fulmen.compat.v1.arguments``."""
    return given, named
