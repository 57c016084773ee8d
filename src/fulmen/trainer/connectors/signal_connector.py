"""The signals that a Trainer listens to."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


class _SignalConnector:
    """A Trainer's signals.

    Args:
        trainer: The Trainer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was asked to end; to set it asks the run to end as the signal does."""
        return self.trainer.received_sigterm

    @received_sigterm.setter
    def received_sigterm(self, received: bool) -> None:
        signals = self.trainer.signals
        if received:
            signals.came.add(signal.SIGTERM)
            signals.received = signal.SIGTERM
        else:
            signals.came.discard(signal.SIGTERM)
            signals.received = None

    def register_signal_handlers(self) -> None:
        """Listens."""
        self.trainer.signals.listen(self.trainer)

    def teardown(self) -> None:
        """Puts back the handlers that were there before."""
        self.trainer.signals.restore()

    @staticmethod
    def _get_current_signal_handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}
