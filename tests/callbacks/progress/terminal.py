"""A real pseudo-terminal to write to, and what a person would see on it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

WIDTH = 160
_PARTS = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|(\r|\n)|([^\x1b\r\n]+)")


class Terminal:
    """What was written to a terminal, to be read once it is closed."""

    def __init__(self) -> None:
        self.text = ""

    @property
    def drawings(self) -> list[str]:
        """Each text that was written to a line, without colours, in the order of writing."""
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.text)
        return [part.strip() for part in re.split(r"[\r\n]+", plain) if part.strip()]

    @property
    def screen(self) -> list[str]:
        """The lines that are left in the end."""
        lines: list[str] = [""]
        row = column = 0
        for code, action, control, text in _PARTS.findall(self.text):
            if action == "A":
                row = max(0, row - int(code or 1))
            elif action == "K":
                lines[row] = ""
            elif control == "\r":
                column = 0
            elif control == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
        return [line.rstrip() for line in lines if line.strip()]


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Makes the standard output a terminal of 40 rows for the ``with`` block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    pieces: list[bytes] = []

    def read() -> None:
        # The kernel says that all ends are closed with an error.
        with contextlib.suppress(OSError):
            while piece := os.read(master, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    found = Terminal()
    try:
        # The terminal itself makes "\r\n" of "\n".
        with os.fdopen(slave, "w", encoding="utf-8", newline="") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setenv("TERM", "xterm-256color")
            # rich asks file descriptors 0 to 2, and not the stream, how wide a line is.
            patch.setenv("COLUMNS", str(WIDTH))
            yield found
    finally:
        reader.join()
        os.close(master)
        found.text = b"".join(pieces).decode()


@contextlib.contextmanager
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Makes the standard output one that keeps every line, like a file, for the ``with`` block."""
    stream = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield stream
