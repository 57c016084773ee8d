"""The seal of a checkpoint: a digest that travels inside the file, where other programs see a comment.

A file is what ``torch.save`` writes, a zip archive, and the seal is the comment at the archive's end, which everybody
who reads zip archives passes over. A damaged seal is never taken for a file without one: either one of its two marks
is in its place, or the archive's end says that a comment follows.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from typing import IO, Any, NamedTuple

FORMAT = 1
CHUNK = 1 << 20
_FIRST, _LAST = b"\x93FULMEN\n", b"\nNEMLUF\x93"
# first mark, format, flags, time in nanoseconds, global step, length of the archive
_HEADER = struct.Struct("<8sHHqqQ")
_END = struct.Struct("<32s8s")  # digest, last mark
SIZE = _HEADER.size + _END.size

ARCHIVE = b"PK\x03\x04"
_DIRECTORY_END = b"PK\x05\x06"
_DIRECTORY_END_SIZE = 22
_LONGEST_COMMENT = 0xFFFF


class BrokenSeal(ValueError):
    """A file that was sealed is not what it was."""


class Seal(NamedTuple):
    """What the seal of a file says.

    Attributes:
        created: When it was written, in nanoseconds.
        step: The ``global_step`` it holds, or -1.
        resumable: Whether training can go on from it, as far as the writer knew.
        digest: Of everything before the digest.
    """

    created: int
    step: int
    resumable: bool
    digest: bytes


class Sealing:
    """A file for ``torch.save`` that hashes what goes through it, and ends it with a seal.

    The first error of the file underneath is kept and what comes after it is dropped: an exception would have to
    travel through torch's writer, which writes on while it cleans up. :meth:`seal` raises it.

    Args:
        file: Where to write.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._length = 0
        self._held = b""  # the archive's end, which has to be changed, is known only when nothing comes after it
        self.error: Exception | None = None

    def write(self, data: Any) -> int:
        """Writes all of it but what may be the archive's end."""
        view = memoryview(data).cast("B")
        if len(view) >= _DIRECTORY_END_SIZE:
            self._put(self._held)
            self._put(view[:-_DIRECTORY_END_SIZE])
            self._held = bytes(view[-_DIRECTORY_END_SIZE:])
        else:
            held = self._held + bytes(view)
            self._put(held[:-_DIRECTORY_END_SIZE])
            self._held = held[-_DIRECTORY_END_SIZE:]
        return len(view)

    def flush(self) -> None:
        """Nothing yet: a file that is not sealed is of no use to anybody."""

    def seal(self, step: int = -1, resumable: bool = False) -> bytes:
        """Ends the file.

        Args:
            step: The ``global_step`` it holds.
            resumable: Whether training can go on from it.

        Returns:
            The digest.

        Raises:
            Exception: The first error that writing met.
        """
        end = self._held
        if self.error is None and not (end.startswith(_DIRECTORY_END) and end.endswith(b"\0\0")):
            raise ValueError("`torch.save` did not end the file as a zip archive ends.")
        self._put(end[:-2] + struct.pack("<H", SIZE))
        self._put(_HEADER.pack(_FIRST, FORMAT, int(resumable), time.time_ns(), step, self._length))
        digest = self._hash.digest()
        self._put(_END.pack(digest, _LAST))
        if self.error is not None:
            raise self.error
        return digest

    def _put(self, data: bytes | memoryview) -> None:
        if self.error is not None or not len(data):
            return
        try:
            self._file.write(data)
        except Exception as error:
            self.error = error
            return
        self._hash.update(data)
        self._length += len(data)


def read_seal(file: IO[bytes]) -> Seal | None:
    """Reads what a seal says, without looking at the rest of the file.

    Args:
        file: A file at its beginning; left where it was.

    Returns:
        The seal; None if the file was never sealed.

    Raises:
        BrokenSeal: If there was a seal, and it is not whole.
    """
    start = file.tell()
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell() - start
        tail = _from(file, start + max(0, size - SIZE - _DIRECTORY_END_SIZE))
        seal = tail[-SIZE:]
        if size >= SIZE and (seal.startswith(_FIRST) or seal.endswith(_LAST)):
            return _parse(seal, size)
        end = tail[-_DIRECTORY_END_SIZE:]
        if end.startswith(_DIRECTORY_END) and end.endswith(b"\0\0"):
            return None
        file.seek(start)
        if file.read(len(ARCHIVE)) != ARCHIVE:
            return None
        longest = _LONGEST_COMMENT + _DIRECTORY_END_SIZE
        if _promises_a_comment(_from(file, start + max(0, size - longest))):
            raise BrokenSeal("the seal at its end is not whole")
        return None
    finally:
        file.seek(start)


def check_seal(file: IO[bytes]) -> Seal | None:
    """Reads a whole file and compares it with its seal.

    Args:
        file: A file at its beginning; left where it was.

    Returns:
        The seal; None if the file was never sealed.

    Raises:
        BrokenSeal: If the file is not what was written.
    """
    seal = read_seal(file)
    if seal is None:
        return None
    start = file.tell()
    try:
        file.seek(0, os.SEEK_END)
        left = file.tell() - start - _END.size
        file.seek(start)
        found = hashlib.sha256()
        while left > 0 and (data := file.read(min(left, CHUNK))):
            found.update(data)
            left -= len(data)
    finally:
        file.seek(start)
    if left or found.digest() != seal.digest:
        raise BrokenSeal("its content is not what was written: the digest differs")
    return seal


def has_directory(file: IO[bytes]) -> bool:
    """Whether an archive has its directory, which a file cut short has lost.

    ``zipfile`` would read all of it, and import what it takes to do so.

    Args:
        file: An archive at its beginning; left where it was.
    """
    start = file.tell()
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell() - start
        tail = _from(file, start + max(0, size - _LONGEST_COMMENT - _DIRECTORY_END_SIZE))
        end = tail.rfind(_DIRECTORY_END)
        if end < 0 or len(tail) - end < _DIRECTORY_END_SIZE:
            return False
        (position,) = struct.unpack_from("<I", tail, end + 16)
        if position == 0xFFFFFFFF:  # it is too far away for this number, and another record says where
            return True
        file.seek(start + position)
        return file.read(4) == b"PK\x01\x02"
    finally:
        file.seek(start)


def _from(file: IO[bytes], position: int) -> bytes:
    file.seek(position)
    return file.read()


def _parse(seal: bytes, size: int) -> Seal:
    first, version, flags, created, step, length = _HEADER.unpack_from(seal)
    digest, last = _END.unpack_from(seal, _HEADER.size)
    if first != _FIRST or last != _LAST:
        raise BrokenSeal("the seal at its end is not whole")
    if length != size - SIZE:
        raise BrokenSeal(f"{size - SIZE} bytes stand before its seal, and {length} were written")
    if version != FORMAT:
        raise BrokenSeal(f"its seal has the format {version}, and this version of Fulmen knows {FORMAT}")
    return Seal(created, step, bool(flags & 1), digest)


def _promises_a_comment(tail: bytes) -> bool:
    position = tail.find(_DIRECTORY_END)
    while position >= 0:
        length = tail[position + _DIRECTORY_END_SIZE - 2 : position + _DIRECTORY_END_SIZE]
        if any(length):
            return True
        position = tail.find(_DIRECTORY_END, position + 1)
    return False
