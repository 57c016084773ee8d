"""Whatever happens to the bytes of a sealed file is noticed, and the file before it is offered."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.checkpoint.store import atomic_save
from fulmen.utilities import seal
from fulmen.utilities.safe_load import DamagedCheckpointError, load
from fulmen.utilities.seal import BrokenSeal, Sealing, check_seal, read_seal

SOAK = os.environ.get("FULMEN_SOAK") == "1"


@pytest.fixture
def earlier() -> Path:
    atomic_save({"global_step": 1}, "earlier.ckpt")
    return Path("earlier.ckpt").absolute()


@pytest.fixture
def sealed(earlier: Path) -> Path:
    """A file of three tensors, so that there is a directory of some length."""
    weights = {name: torch.arange(100, dtype=torch.float64) for name in "abc"}
    atomic_save({"global_step": 2, "state_dict": weights}, "sealed.ckpt")
    assert load("sealed.ckpt")["global_step"] == 2
    return Path("sealed.ckpt").absolute()


@contextmanager
def flipped(path: Path, position: int, bit: int) -> Iterator[None]:
    """Flips a bit as a disk does, which leaves the date as it was."""
    date = path.stat().st_mtime_ns
    with open(path, "r+b", buffering=0) as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))
        os.utime(path, ns=(date, date))
        yield
        file.seek(position)
        file.write(bytes([byte]))
    os.utime(path, ns=(date, date))


def assert_damaged(path: Path, offered: Path, what: Any) -> None:
    with pytest.raises(DamagedCheckpointError) as caught:
        load(path)
    assert path.name in str(caught.value), what
    assert f"What to do: Load the newest whole checkpoint before it: `{offered}`." in str(caught.value), what


def assert_noticed(path: Path, offered: Path, places: Iterable[tuple[int, int]]) -> None:
    whole = path.read_bytes()
    for place in places:
        with flipped(path, *place):
            assert_damaged(path, offered, place)
    assert path.read_bytes() == whole
    load(path)


def parts_of(path: Path) -> dict[str, range]:
    """Where the headers of an archive lie, its directory, its end, and the parts of the seal."""
    content = path.read_bytes()
    size = len(content)
    archive = size - seal.SIZE
    with zipfile.ZipFile(path) as opened:
        headers = {f"header {entry.filename}": entry.header_offset for entry in opened.infolist()}
        directory = opened.start_dir
    found = {name: range(start, start + 30 + len(name) - 7) for name, start in headers.items()}
    lengths = {
        "first mark": 8,
        "format": 2,
        "flags": 2,
        "time": 8,
        "step": 8,
        "length": 8,
        "digest": 32,
        "last mark": 8,
    }
    place = archive
    for name, length in lengths.items():
        found[name] = range(place, place + length)
        place += length
    assert place == size
    return {**found, "directory": range(directory, archive - 22), "end": range(archive - 22, archive)}


def test_a_flipped_bit_in_what_holds_the_file_together(sealed: Path, earlier: Path) -> None:
    """Every byte of all headers, the directory, its end, and the seal; in the last two every bit."""
    draw = random.Random(1)
    for name, places in parts_of(sealed).items():
        every = name == "end" or places.start >= len(sealed.read_bytes()) - seal.SIZE
        bits = range(8) if every else (draw.randrange(8),)
        assert_noticed(sealed, earlier, ((place, bit) for place in places for bit in bits))


def test_a_flipped_bit_anywhere(sealed: Path, earlier: Path) -> None:
    draw, size = random.Random(2), sealed.stat().st_size
    places = [(draw.randrange(size), draw.randrange(8)) for _ in range(10_000 if SOAK else 2_000)]
    assert_noticed(sealed, earlier, places)


def test_a_flipped_bit_anywhere_in_a_file_without_tensors(earlier: Path) -> None:
    atomic_save({"global_step": 3}, "small.ckpt")
    size = os.path.getsize("small.ckpt")
    assert_noticed(Path("small.ckpt").absolute(), earlier, ((place, place % 8) for place in range(size)))


def test_a_file_cut_short_at_any_length(sealed: Path, earlier: Path) -> None:
    content = sealed.read_bytes()
    ends = range(len(content) - 500, len(content))
    for length in [*range(0, len(content) - 500, 1 if SOAK else 17), *ends]:
        sealed.write_bytes(content[:length])
        assert_damaged(sealed, earlier, length)


@pytest.mark.parametrize("size", [8, 76, 98, 512])
def test_a_stretch_that_was_lost(sealed: Path, earlier: Path, size: int) -> None:
    """Zeros where a block never reached the disk, and something else where it belongs to another file."""
    content = sealed.read_bytes()
    draw = random.Random(size)
    for start in sorted({*range(0, len(content), size), len(content) - size}):
        stop = min(start + size, len(content))
        for filling in (bytes(stop - start), draw.randbytes(stop - start)):
            if content[start:stop] == filling:
                continue
            sealed.write_bytes(content[:start] + filling + content[stop:])
            assert_damaged(sealed, earlier, (start, filling[:1]))


def test_more_than_was_written(sealed: Path, earlier: Path) -> None:
    content = sealed.read_bytes()
    for more in (b"\0", b"more", content):
        sealed.write_bytes(content + more)
        assert_damaged(sealed, earlier, more[:4])


def test_damage_is_noticed_in_open_files_and_before_anything_is_read(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was unpickled")

    monkeypatch.setattr(torch, "load", refuse)
    with flipped(sealed, 300, 0), open(sealed, "rb") as file:
        for source in (file, io.BytesIO(sealed.read_bytes()), f"file://{sealed}", sealed):
            with pytest.raises(DamagedCheckpointError):
                load(source, weights_only=False)


def test_nothing_before_it_nothing_offered(sealed: Path, earlier: Path) -> None:
    with flipped(earlier, 200, 0), pytest.raises(DamagedCheckpointError, match="Load another checkpoint of the same"):
        load(earlier)
    with flipped(sealed, 300, 0), flipped(earlier, 200, 0), pytest.raises(DamagedCheckpointError, match="Load another"):
        load(sealed)


def test_others_read_a_sealed_file(sealed: Path) -> None:
    expected = load(sealed)
    for options in ({}, {"mmap": True}, {"weights_only": False}):
        found = torch.load(sealed, **options)
        assert found["global_step"] == 2
        assert torch.equal(found["state_dict"]["a"], expected["state_dict"]["a"])
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None
        assert len(archive.comment) == seal.SIZE


def test_a_file_of_others_has_no_seal_and_is_read(sealed: Path) -> None:
    torch.save(torch.load(sealed), "again.ckpt")
    torch.save({"w": 1}, "old.ckpt", _use_new_zipfile_serialization=False)
    for path in ("again.ckpt", "old.ckpt"):
        with open(path, "rb") as file:
            assert read_seal(file) is check_seal(file) is None
            assert file.tell() == 0
        load(path)


def test_what_a_seal_says(sealed: Path) -> None:
    with open(sealed, "rb") as file:
        found = check_seal(file)
        assert file.tell() == 0
    assert found is not None
    assert (found.step, found.resumable) == (2, False)
    assert abs(found.created - sealed.stat().st_mtime_ns) < 60e9


def test_a_seal_of_a_later_version_is_said(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(seal, "FORMAT", 2)
        atomic_save({}, "later.ckpt")
    with pytest.raises(DamagedCheckpointError, match="has the format 2, and this version of Fulmen knows 1"):
        load("later.ckpt")


@pytest.mark.parametrize("size", [0, 1, 21, 22, 23, 45, 1000])
def test_sealing_takes_what_comes_in_any_pieces(size: int) -> None:
    """torch hands over an archive in pieces of any size, the end in one or in several."""
    plain = io.BytesIO()
    torch.save({"w": torch.arange(50)}, plain)
    archive = plain.getvalue()
    file = io.BytesIO()
    sealing = Sealing(file)
    pieces = [archive[start : start + size] for start in range(0, len(archive), size)] if size else [archive]
    assert sum(sealing.write(memoryview(piece)) for piece in pieces) == len(archive)
    digest = sealing.seal(step=7, resumable=True)
    content = file.getvalue()
    assert content[: len(archive) - 2] == archive[:-2]
    file.seek(0)
    found = check_seal(file)
    assert found is not None and (found.digest, found.step, found.resumable) == (digest, 7, True)


def test_what_is_no_archive_is_not_sealed() -> None:
    sealing = Sealing(io.BytesIO())
    sealing.write(b"no archive at all, but long enough")
    with pytest.raises(ValueError, match="did not end the file"):
        sealing.seal()


def test_a_sealed_file_in_the_middle_of_a_stream(sealed: Path) -> None:
    content = sealed.read_bytes()
    file = io.BytesIO(b"before" + content)
    file.seek(6)
    assert check_seal(file) is not None
    broken = io.BytesIO(b"before" + content[:-1])
    broken.seek(6)
    with pytest.raises(BrokenSeal):
        check_seal(broken)
