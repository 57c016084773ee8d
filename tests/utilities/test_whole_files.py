from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFile

from fulmen.checkpoint.store import atomic_save
from fulmen.utilities.seal import check_seal, has_directory, read_seal
from fulmen.utilities.whole_files import (
    Candidate,
    candidate,
    is_remote,
    is_there,
    opened,
    plain_path,
    previous,
    what_is_wrong,
    whole,
)


def break_(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[300] ^= 1
    Path(path).write_bytes(content)


@pytest.mark.parametrize(
    ("path", "plain", "remote"),
    [
        ("/a/b", "/a/b", False),
        ("file:///a/b", "/a/b", False),
        ("local:///a/b", "/a/b", False),
        ("s3://bucket/a", "s3://bucket/a", True),
        ("simplecache::s3://bucket/a", "simplecache::s3://bucket/a", True),
    ],
)
def test_paths(path: str, plain: str, remote: bool) -> None:
    assert plain_path(path) == plain
    assert is_remote(path) == remote


def test_a_candidate_tells_what_its_seal_says() -> None:
    before = time.time_ns()
    atomic_save({"optimizer_states": []}, "a.ckpt")
    atomic_save({"optimizer_states": []}, "memory://look/a.ckpt")
    os.utime("a.ckpt", (1, 1))
    for path in ("a.ckpt", "memory://look/a.ckpt"):
        one = candidate(path)
        assert one is not None
        assert before <= one.created <= time.time_ns()
        assert (one.path, one.sealed, one.resumable) == (path, True, True)
    atomic_save({}, "weights.ckpt")
    weights = candidate("weights.ckpt")
    assert weights is not None and not weights.resumable


def test_a_candidate_without_a_seal_has_the_date_of_the_file() -> None:
    torch.save({}, "a.ckpt")
    os.mkdir("b.ckpt")
    fsspec.filesystem("memory").pipe("/look/b.ckpt", b"nothing")
    for path in ("a.ckpt", "b.ckpt"):
        os.utime(path, (1, 1))
        one = candidate(path)
        assert one is not None and one.created == one.changed == 10**9 and not one.sealed
    far = candidate("memory://look/b.ckpt")
    assert far is not None and not far.sealed and time.time_ns() - far.created < 60e9


def test_a_candidate_that_is_not_there() -> None:
    os.symlink("nowhere", "last.ckpt")
    for path in ("last.ckpt", "none.ckpt", "memory://look/none.ckpt"):
        assert candidate(path) is None


def test_what_cannot_be_looked_at_is_there_and_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_save({}, "a.ckpt")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        one, there = candidate("a.ckpt"), is_there("a.ckpt")
    assert one is not None and one > Candidate(time.time_ns(), time.time_ns(), "z.ckpt", True, True)
    assert there and is_there("a.ckpt") and is_there(f"file://{os.getcwd()}/a.ckpt")
    assert not is_there("none.ckpt") and not is_there("a.ckpt/none")


def test_looking_reads_the_end_alone() -> None:
    class Counts(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    atomic_save({"w": torch.zeros(100_000)}, "a.ckpt")
    file = Counts(Path("a.ckpt").read_bytes())
    assert read_seal(file) is not None
    assert file.count < 200
    assert check_seal(file) is not None
    assert file.count > 400_000


def test_what_is_wrong() -> None:
    atomic_save({"w": torch.ones(100)}, "whole.ckpt")
    atomic_save({"w": torch.ones(100)}, "memory://wrong/whole.ckpt")
    torch.save({"w": torch.ones(100)}, "foreign.ckpt")
    torch.save({"w": 1}, "old.ckpt", _use_new_zipfile_serialization=False)
    os.mkdir("folder.ckpt")
    for path in ("whole.ckpt", "foreign.ckpt", "old.ckpt", "folder.ckpt", "memory://wrong/whole.ckpt"):
        assert what_is_wrong(path) == "", path
    break_("whole.ckpt")
    Path("foreign.ckpt").write_bytes(Path("foreign.ckpt").read_bytes()[:-100])
    Path("empty.ckpt").touch()
    Path("zeros.ckpt").write_bytes(bytes(2000))
    for path, reason in {
        "whole.ckpt": "digest differs",
        "foreign.ckpt": "directory is missing",
        "empty.ckpt": "nothing in it",
        "zeros.ckpt": "nothing in it",
        "none.ckpt": "No such file",
    }.items():
        assert reason in what_is_wrong(path)


def test_whole_files_come_newest_first_and_are_read_in_turn() -> None:
    for name in "abc":
        atomic_save({"w": torch.ones(100)}, f"{name}.ckpt")
    break_("c.ckpt")
    looked = [candidate(f"{name}.ckpt") for name in "bca"]
    found = whole(one for one in looked if one is not None)
    assert next(found) == "b.ckpt"
    break_("a.ckpt")
    assert list(found) == []


def test_the_previous_one() -> None:
    for name in "abcd":
        atomic_save({"w": torch.ones(100)}, f"{name}.ckpt")
    atomic_save({}, "b.pt")
    atomic_save({}, ".b.ckpt")
    assert previous("c.ckpt") == "b.ckpt"
    assert previous(f"file://{os.getcwd()}/c.ckpt") == f"{os.getcwd()}/b.ckpt"
    break_("b.ckpt")
    assert previous("c.ckpt") == "a.ckpt"
    os.remove("a.ckpt")
    os.utime("c.ckpt", (1, 1))
    assert previous("c.ckpt") is None
    assert previous("none.ckpt") is previous("memory://wrong/whole.ckpt") is None


def test_opened_reads_both_kinds() -> None:
    atomic_save(1, "a.ckpt")
    atomic_save(1, "memory://look/c.ckpt")
    for path in ("a.ckpt", f"file://{os.getcwd()}/a.ckpt", "memory://look/c.ckpt"):
        with opened(path) as file:
            assert file.read(2) == b"PK"


def test_what_a_server_gives_only_in_one_go_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_save({"w": torch.ones(100)}, "memory://look/d.ckpt")
    seek = MemoryFile.seek

    def forward(self: Any, position: int, whence: int = 0) -> int:
        if whence == os.SEEK_END:
            raise ValueError("no range requests")
        return seek(self, position, whence)

    monkeypatch.setattr(MemoryFile, "seek", forward, raising=False)
    assert what_is_wrong("memory://look/d.ckpt") == ""
    with opened("memory://look/d.ckpt") as file:
        assert isinstance(file, io.BytesIO) and not isinstance(file, MemoryFile)


def test_an_archive_without_its_directory() -> None:
    torch.save({"w": torch.ones(1000)}, "foreign.ckpt")
    content = Path("foreign.ckpt").read_bytes()
    for end in range(0, len(content), 13):
        Path("foreign.ckpt").write_bytes(content[:end])
        assert what_is_wrong("foreign.ckpt"), end
    for comment in (b"", b"a comment", bytes(60_000)):
        with open("commented.ckpt", "wb") as file:
            file.write(content[:-2] + len(comment).to_bytes(2, "little") + comment)
        with open("commented.ckpt", "rb") as file:
            assert has_directory(file) and file.tell() == 0
    far = content[:-6] + b"\xff" * 4 + content[-2:]
    assert has_directory(io.BytesIO(far))
