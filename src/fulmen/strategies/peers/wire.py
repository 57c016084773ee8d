"""Calls of a store that may never come back, made so that nobody has to wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class NoAnswer(Exception):
    """The store has not answered yet: its host is slow, stopped, or cut off."""


class StoreLost(Exception):
    """The store is gone: its process has ended, or the connection is closed."""


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: Exception | None = None
        self.done = threading.Event()


class Wire:
    """A thread that makes one call after the other.

    A call to a store whose host was stopped blocks for as long as that lasts, whatever timeout the store was given.
    Here, whoever calls gets `NoAnswer` after a while, and goes on with what else is to be looked after.

    Args:
        patience: For how many seconds to wait.
    """

    def __init__(self, patience: float = 1.0) -> None:
        self.patience = patience
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._pending: _Call | None = None
        self._thread = threading.Thread(target=self._work, name="fulmen-peers-wire", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Lets the thread end once the call it makes comes back."""
        self._queue.put(None)
        self._thread.join(self.patience)

    def call(self, function: Callable[[], T]) -> T:
        """Has a function called.

        Args:
            function: It may be called although `NoAnswer` was raised, so it must be safe to call again.

        Returns:
            What it returns.

        Raises:
            NoAnswer: If it takes too long, or an earlier one still does.
            StoreLost: If it fails.
        """
        if self._pending is not None:  # what it brings nobody waits for any more
            if not self._pending.done.wait(self.patience):
                raise NoAnswer
            self._pending = None
        call = _Call(function)
        self._queue.put(call)
        if not call.done.wait(self.patience):
            self._pending = call
            raise NoAnswer
        if call.error is not None:
            raise StoreLost(str(call.error)) from call.error
        result: T = call.result
        return result

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            call.done.set()
