"""Signals that come while the main thread runs no Python code."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.strategies.peers.peers import Peers

_mine: set[int] = set()


class SignalWatch:
    """Learns of signals from Python's wake-up descriptor.

    A handler in Python runs when the main thread does; one that sits in a collective runs none. The part of the handler
    that is in C writes the signal's number to a descriptor at once, and another thread may read it there.

    Args:
        peers: Whose `signals` say which count.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def begin(self) -> None:
        """Puts a descriptor in place, unless somebody else has one, or this is not the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if earlier != -1 and earlier not in _mine:
            signal.set_wakeup_fd(earlier)
            reader.close()
            writer.close()
        else:
            _mine.add(writer.fileno())
            self._ends = reader, writer

    def end(self) -> None:
        """Takes it away."""
        if self._ends is None:
            return
        reader, writer = self._ends
        if threading.current_thread() is threading.main_thread():
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, writer.fileno()):
                signal.set_wakeup_fd(current)
            _mine.discard(writer.fileno())
            self._ends = None
            reader.close()
            writer.close()

    def look(self) -> None:
        """Makes a wish of a signal that came."""
        ends = self._ends
        if ends is None:
            return
        try:
            numbers = ends[0].recv(4096)
        except OSError:
            return  # none came
        for number in numbers:
            if number in self._peers.signals and not self._peers.wish_from_signal:
                self._peers.wish_from_signal = self._peers.signals[number]


def _after_fork() -> None:
    # A child shares the descriptor, and the parent would take the child's signals for its own.
    if _mine:
        current = signal.set_wakeup_fd(-1)
        if current not in _mine and current != -1:
            signal.set_wakeup_fd(current)
        _mine.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
