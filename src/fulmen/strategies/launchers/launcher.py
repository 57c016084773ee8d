"""What Fulmen asks of a launcher."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class _Launcher(ABC):
    """Starts the processes of a run, and sees to it that none is left behind."""

    @property
    @abstractmethod
    def is_interactive_compatible(self) -> bool:
        """Whether it works in a notebook and at Python's prompt."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function in all processes of this machine.

        Args:
            function: The function.
            *args: What it is called with.
            **kwargs: What it is called with by name.

        Returns:
            What it returned in this process, or on this machine's first rank where that is another process.
        """

    @abstractmethod
    def kill(self, signum: int | signal.Signals) -> None:
        """Sends a signal to the processes that were started.

        Args:
            signum: The signal.
        """
