from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import warm

from fulmen.checkpoint import folder as folders
from fulmen.checkpoint import store
from fulmen.checkpoint.folder import make, part_name, part_of, remove_leftovers, synced

DIES = """
import os, signal, sys
from fulmen.checkpoint.folder import part_of
with part_of(sys.argv[1], "a.ckpt", is_folder=sys.argv[2] == "folder") as part:
    print(part, flush=True)
    sys.stdin.read(1) or os.kill(os.getpid(), signal.SIGKILL)
"""
SAVES = """
import os
from fulmen.checkpoint import store
from fulmen.checkpoint.folder import remove_leftovers
other = os.fork()
name = "one" if other else "two"
for round in range(60):
    remove_leftovers(".")
    store.atomic_save({"by": name, "round": round}, f"{name}.ckpt")
    store.link(f"{name}.ckpt", f"last-{name}.ckpt")
assert not other or os.waitpid(other, 0)[1] == 0
"""


def writer(kind: str) -> tuple[subprocess.Popen[str], str]:
    """A process that has begun to write, and the path of what it writes."""
    arguments = [sys.executable, "-c", DIES, os.getcwd(), kind]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_leaves_is_removed_and_what_a_living_one_writes_is_not(kind: str) -> None:
    process, part = writer(kind)
    assert os.path.exists(part)
    assert remove_leftovers(".") == []
    process.communicate("")
    assert process.returncode == -signal.SIGKILL
    assert os.path.exists(part)
    assert [os.path.basename(path) for path in remove_leftovers(".")] == [os.path.basename(part)]
    assert os.listdir() == []


def test_two_that_save_in_one_folder_leave_each_other_alone() -> None:
    """Both clean up before each save."""
    ended = warm.run(SAVES, cwd=Path.cwd())
    assert ended.returncode == 0, ended.stderr
    for name in ("one", "two"):
        assert store.load(f"{name}.ckpt") == store.load(f"last-{name}.ckpt") == {"by": name, "round": 59}
    assert len(os.listdir()) == 4


def test_cleaning_while_a_save_is_under_way(tmp_path: Path) -> None:
    class Cleans:
        def __reduce__(self) -> Any:
            assert remove_leftovers(".") == []
            return int, ()

    store.atomic_save({"cleans": Cleans()}, "a.ckpt")
    assert os.listdir() == ["a.ckpt"]


def test_only_parts_are_removed() -> None:
    names = ["a.ckpt", "a.ckpt.part", ".hidden", ".a.ckpt.part", ".a.ckpt.12345678.part.txt", ".a.ckpt.1234567.part"]
    for name in names:
        Path(name).touch()
    os.symlink("nowhere", part_name("last.ckpt"))
    Path(part_name("b.ckpt")).touch()
    assert len(remove_leftovers(".")) == 2
    assert sorted(os.listdir()) == sorted(names)


def test_folders_below_are_cleaned_as_deep_as_is_asked() -> None:
    os.makedirs("one/two")
    for where in ("", "one", "one/two"):
        Path(where, part_name("a.ckpt")).touch()
    os.symlink("one", "link")
    assert len(remove_leftovers(".", depth=1)) == 2
    assert len(list(Path().rglob("*.part"))) == 1
    assert len(remove_leftovers(f"file://{os.getcwd()}", depth=5)) == 1


def test_nothing_to_clean() -> None:
    assert remove_leftovers("nowhere") == remove_leftovers("memory://bucket") == []


def test_where_there_are_no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot lock saves all the same, and leaves alone what may be somebody's."""

    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    Path(part_name("b.ckpt")).touch()
    with monkeypatch.context() as patch:
        patch.setattr(folders._fcntl, "flock", refuse)
        store.atomic_save(1, "a.ckpt")
        assert remove_leftovers(".") == []
    assert store.load("a.ckpt") == 1
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_fcntl", None)
        for is_folder in (True, False):
            with part_of(".", "c.ckpt", is_folder) as part:
                os.rename(part, f"c{is_folder}.ckpt")
        assert len(remove_leftovers(".")) == 1
    assert sorted(os.listdir()) == ["a.ckpt", "cFalse.ckpt", "cTrue.ckpt"]


@pytest.mark.parametrize("lost", ["lock", "name"])
def test_whoever_cleans_is_faster_than_the_lock(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the making of a part and its lock another run may take it for a leftover; then there is another one."""
    assert folders._fcntl is not None
    flock, taken = folders._fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.extend(os.listdir())
            os.remove(taken[0])
            if lost == "lock":
                raise BlockingIOError
        flock(descriptor, operation)

    monkeypatch.setattr(folders._fcntl, "flock", late)
    with part_of(".", "a.ckpt") as part:
        assert os.path.basename(part) not in taken
        os.rename(part, "a.ckpt")
    assert len(taken) == 1 and os.listdir() == ["a.ckpt"]


def test_new_folders_reach_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    synced_inodes, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced_inodes.append(os.fstat(fd).st_ino), fsync(fd)))
    make(str(tmp_path / "a/b/c"))
    assert synced_inodes == [os.stat(path).st_ino for path in (".", "a", "a/b")]
    make(str(tmp_path / "a/b/c"))
    assert len(synced_inodes) == 3


def test_a_system_that_syncs_no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    with synced("."):
        Path("a").touch()
    monkeypatch.setattr(os, "name", "nt")
    with synced("nowhere"):
        pass
