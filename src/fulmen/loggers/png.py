"""PNG files, without a library."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import Any

_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's number for gray, gray with alpha, RGB, RGBA


def png_bytes(*pictures: Any, fps: float = 4) -> bytes:
    """A picture, or several that follow on each other, as a PNG file.

    Args:
        *pictures: Arrays of bytes of shape (height, width, channels), all of one shape.
        fps: How many are shown in a second.

    Returns:
        The content of the file.
    """
    height, width, channels = pictures[0].shape
    parts = [_part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _KINDS[channels], 0, 0, 0))]
    if len(pictures) > 1:
        parts.append(_part(b"acTL", struct.pack(">II", len(pictures), 0)))
    # How long each is shown, as two numbers of 16 bits.
    seconds = Fraction(1000, max(1, round(1000 * fps)))
    if seconds.denominator > 0xFFFF:
        seconds = seconds.limit_denominator(0xFFFF)
    number = 0
    for index, pixels in enumerate(pictures):
        if len(pictures) > 1:
            timing = struct.pack(
                ">IIIIIHHBB", number, width, height, 0, 0, seconds.numerator, seconds.denominator, 0, 0
            )
            parts.append(_part(b"fcTL", timing))
            number += 1
        # Each row begins with the number of a filter; 0 is none.
        content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 6)
        if index == 0:
            parts.append(_part(b"IDAT", content))
        else:
            parts.append(_part(b"fdAT", struct.pack(">I", number) + content))
            number += 1
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _part(b"IEND", b"")


def _part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
