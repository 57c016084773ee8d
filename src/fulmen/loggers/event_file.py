"""The file of events that TensorBoard reads, written without a thread of TensorBoard's."""

from __future__ import annotations

import io
import os
from typing import Any

from fulmen.loggers.background import Background
from fulmen.loggers.places import append


class EventFile:
    """Takes the place of the queue and the thread that TensorBoard has for a file.

    Those stop training where the queue is full, and print a traceback where the disk is. What is written by calls on
    ``logger.experiment`` goes the same way as what is logged.

    Args:
        path: The file, which exists.
        background: The logger's.
    """

    def __init__(self, path: str, background: Background) -> None:
        self.path = path
        self._background = background
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))

    def write(self, event: bytes) -> None:
        """Writes an event, in the background of a run."""
        if self._background.is_own_thread():
            self._append([event])
        else:
            self._background.gather(self._append, event)

    def flush(self) -> None:
        """Waits until everything is written."""
        self._background.drain()

    def close(self) -> None:
        """Writes everything, and closes the file."""
        self.flush()
        self.__del__()

    def _append(self, events: list[bytes]) -> None:
        assert self._descriptor is not None, "the file of events is closed"
        from tensorboard.summary.writer.record_writer import RecordWriter

        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in events:
            writer.write(event)
        append(self._descriptor, content.getvalue())

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]
            self._descriptor = None


def redirect(writer: Any, background: Background) -> None:
    """Has a ``SummaryWriter``, and those that it makes for charts of several curves, write in a logger's background.

    Args:
        writer: The ``SummaryWriter``.
        background: The logger's.
    """
    for file_writer in (writer.all_writers or {}).values():
        event_writer = file_writer.event_writer
        queue: Any = getattr(event_writer, "_async_writer", None)
        path = getattr(event_writer, "_file_name", None)
        # Where a version of TensorBoard has neither, it writes in its own way.
        if path is not None and hasattr(queue, "close") and not isinstance(queue, EventFile):
            queue.close()
            event_writer._async_writer = EventFile(path, background)
