"""Signals that ask a run to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class Signals:
    """Takes note of signals, which are obeyed at the end of a step.

    Attributes:
        received: The number of the signal that came; None if none did.
    """

    received: int | None = None

    def obey(self, trainer: Trainer) -> None:
        """Saves everything, and ends the run."""
