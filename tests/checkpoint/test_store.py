from __future__ import annotations

import errno
import os
import pickle
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFile
from hypothesis import given
from hypothesis import strategies as st

from fulmen.checkpoint import store
from fulmen.checkpoint.save_error import CheckpointSaveError, save_error
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.safe_load import DamagedCheckpointError
from fulmen.utilities.seal import check_seal

values = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(values)
def test_gives_back_what_was_saved(value: Any) -> None:
    store.atomic_save(value, "deep/down/file.ckpt")
    assert store.load("deep/down/file.ckpt") == value
    assert os.listdir("deep/down") == ["file.ckpt"]


def test_a_name_without_a_folder_and_a_path_object() -> None:
    store.atomic_save({"w": torch.ones(2)}, Path("a.ckpt"))
    assert torch.equal(store.load("a.ckpt")["w"], torch.ones(2))


def test_has_the_rights_of_any_new_file() -> None:
    store.atomic_save(1, "a.ckpt")
    Path("plain").touch()
    assert stat.S_IMODE(os.stat("a.ckpt").st_mode) == stat.S_IMODE(os.stat("plain").st_mode)


def test_a_link_to_a_folder_and_a_changed_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store.atomic_save(1, "link/a.ckpt")
    assert store.load("real/a.ckpt") == 1


@pytest.mark.parametrize("step", ["save", "fsync", "replace"])
def test_a_failure_leaves_what_was_there(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.atomic_save("old", "a.ckpt")

    def fail(*args: Any, **kwargs: Any) -> None:
        if step == "save":
            args[1].write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(torch if step == "save" else os, step, fail)
        store.atomic_save("new", "a.ckpt")
    assert os.listdir() == ["a.ckpt"]
    assert store.load("a.ckpt") == "old"


def test_reaches_the_disk_before_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("folder" if _is_folder(fd) else "file"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names)))
    store.atomic_save(1, "a.ckpt")
    assert order == ["file", "rename", "folder"]


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def test_names_what_cannot_be_pickled() -> None:
    with pytest.raises(MisconfigurationException, match=r"(?s)'bad'.*on_save_checkpoint") as caught:
        store.atomic_save({"good": 1, "bad": lambda: 1}, "a.ckpt")
    assert "'good'" not in str(caught.value)
    assert os.listdir() == []


def test_an_error_says_what_to_do_and_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    advice = {
        errno.ENOSPC: "Free space there",
        errno.EDQUOT: "Free space there",
        errno.EROFS: "Let this user write",
        errno.EIO: "Check the disk",
        errno.ESTALE: "Check the disk",
        errno.EMFILE: "ulimit -n",
    }
    for number, words in advice.items():
        rule = f"What to do: .*{words}.*Earlier checkpoints are untouched"
        with pytest.raises(CheckpointSaveError, match=rule) as caught:
            store.atomic_save(1, "a.ckpt")
        assert isinstance(caught.value, OSError) and isinstance(caught.value, MisconfigurationException)
        assert caught.value.errno == number
        assert f"Received: {errno.errorcode[number]}: {os.strerror(number)}" in str(caught.value)
    assert os.listdir() == []


def test_an_error_travels_between_processes() -> None:
    error = save_error("a.ckpt", OSError(errno.ENOSPC, "No space left on device"))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errno) == (str(error), error.errno) == (str(error), errno.ENOSPC)


def test_names_that_cannot_be_written_to() -> None:
    os.mkdir("folder.ckpt")
    with pytest.raises(CheckpointSaveError, match="Something else has this name"):
        store.atomic_save(1, "folder.ckpt")
    Path("file").touch()
    with pytest.raises(CheckpointSaveError, match="Something else has this name"):
        store.atomic_save(1, "file/a.ckpt")
    with pytest.raises(CheckpointSaveError, match="Choose a shorter"):
        store.atomic_save(1, "n" * 300 + ".ckpt")
    long = "n" * 250 + ".ckpt"
    store.atomic_save(1, long)
    assert sorted(os.listdir()) == ["file", "folder.ckpt", long]


def test_what_is_read_back_must_be_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that keeps something else is noticed before the old file goes."""
    store.atomic_save("old", "a.ckpt")
    fsync = os.fsync

    def lose(descriptor: int) -> None:
        fsync(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.pwrite(descriptor, bytes(8), 200)

    with monkeypatch.context() as patch, pytest.raises(CheckpointSaveError, match="read back is not what") as caught:
        patch.setattr(os, "fsync", lose)
        store.atomic_save({"new": torch.ones(100)}, "a.ckpt")
    assert caught.value.errno == errno.EIO
    assert store.load("a.ckpt") == "old"
    assert os.listdir() == ["a.ckpt"]


def test_the_seal_knows_the_step_and_whether_training_can_go_on() -> None:
    cases: list[tuple[Any, tuple[int, bool]]] = [
        ({"global_step": 7, "optimizer_states": []}, (7, True)),
        ({"global_step": 7}, (7, False)),
        ({"global_step": "seven"}, (-1, False)),
        ([1], (-1, False)),
    ]
    for content, expected in cases:
        store.atomic_save(content, "a.ckpt")
        with open("a.ckpt", "rb") as file:
            seal = check_seal(file)
        assert seal is not None and (seal.step, seal.resumable) == expected


def test_no_whole_copy_is_in_memory() -> None:
    """Writing takes pieces of the tensor's own memory; reading back takes a megabyte at a time."""
    size = 50_000_000
    weights = torch.zeros(size, dtype=torch.uint8)
    tracemalloc.start()
    try:
        store.atomic_save({"w": weights}, "a.ckpt")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert os.path.getsize("a.ckpt") > size > 10 * peak


@given(values)
def test_remote_files(value: Any) -> None:
    path = "memory://bucket/run/a.ckpt"
    store.atomic_save(value, path)
    assert store.load(path) == value
    assert fsspec.filesystem("memory").ls("/bucket/run", detail=False) == ["/bucket/run/a.ckpt"]


class Reduced:
    """Does something while it is pickled."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        self.act()
        return int, ()


def test_a_remote_file_appears_when_it_is_whole() -> None:
    path = "memory://whole/a.ckpt"
    store.atomic_save("old", path)
    seen: list[Any] = []
    store.atomic_save({"looks": Reduced(lambda: seen.append(store.load(path)))}, path)
    assert seen == ["old"]
    assert store.load(path, weights_only=False) == {"looks": 0}


def test_a_remote_failure_leaves_what_was_there() -> None:
    path = "memory://fails/a.ckpt"
    store.atomic_save("old", path)

    def fail() -> None:
        raise ConnectionError("gone")

    with pytest.raises(CheckpointSaveError, match=r"ConnectionError: gone\nWhat to do: Check the address"):
        store.atomic_save({"fails": Reduced(fail)}, path)
    with pytest.raises(MisconfigurationException, match="'bad'"):
        store.atomic_save({"bad": lambda: 1}, path)
    with pytest.raises(CheckpointSaveError, match=r"(?s)Protocol not known.*Check the address"):
        store.atomic_save(1, "nothing://fails/a.ckpt")
    assert store.load(path) == "old"
    assert fsspec.filesystem("memory").ls("/fails", detail=False) == ["/fails/a.ckpt"]


def test_a_remote_file_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = MemoryFile.commit

    def lose(self: Any) -> None:
        self.getbuffer()[200:208] = bytes(8)
        commit(self)

    monkeypatch.setattr(MemoryFile, "commit", lose)
    with pytest.raises(CheckpointSaveError, match=r"read back is not what .*\n.*Check the address"):
        store.atomic_save({"w": torch.ones(100)}, "memory://back/a.ckpt")


def test_a_damaged_remote_file_is_noticed() -> None:
    memory, path = fsspec.filesystem("memory"), "memory://damaged/a.ckpt"
    store.atomic_save({"w": torch.ones(100)}, path)
    content = bytearray(memory.cat("/damaged/a.ckpt"))
    content[300] ^= 1
    memory.pipe("/damaged/a.ckpt", bytes(content))
    with pytest.raises(DamagedCheckpointError, match=r"memory://damaged/a\.ckpt"):
        store.load(path)


def test_the_address_of_a_local_file_is_a_path(tmp_path: Path) -> None:
    store.atomic_save("value", f"file://{tmp_path}/deep/a.ckpt")
    assert store.load(tmp_path / "deep/a.ckpt") == store.load(f"file://{tmp_path}/deep/a.ckpt") == "value"
    assert os.listdir("deep") == ["a.ckpt"]
    store.remove(f"file://{tmp_path}/deep/a.ckpt")
    assert os.listdir("deep") == []


def test_removes_files_links_and_folders() -> None:
    memory = fsspec.filesystem("memory")
    for path in ("a.ckpt", "memory://gone/a.ckpt"):
        store.atomic_save(1, path)
        store.remove(path)
        store.remove(path)
    memory.pipe("/gone/b.ckpt/part", b"")
    store.remove("memory://gone/b.ckpt")
    assert not memory.exists("/gone/a.ckpt") and not memory.exists("/gone/b.ckpt")
    os.mkdir("kept")
    os.symlink("kept", "link")
    store.remove("link")
    assert os.listdir() == ["kept"]
    store.remove("kept")
    assert os.listdir() == []


def test_a_removal_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(CheckpointSaveError) as caught:
        patch.setattr(os, "remove", refuse)
        store.remove("a.ckpt")
    assert "could not be removed." in str(caught.value)
    assert "What to do: Let this user write to the folder" in str(caught.value)


@pytest.mark.parametrize("put", [store.link, store.copy])
def test_another_name_for_a_file_or_a_folder(put: Any, tmp_path: Path) -> None:
    store.atomic_save("one", "one.ckpt")
    store.atomic_save("two", "two.ckpt")
    for name in ("one", "two"):
        put(str(tmp_path / f"{name}.ckpt"), str(tmp_path / "last.ckpt"))
        assert store.load("last.ckpt") == name
    os.mkdir("folder")
    Path("folder/part").touch()
    put(str(tmp_path / "folder"), str(tmp_path / "other"))
    assert os.listdir("other") == ["part"]
    assert sorted(os.listdir()) == ["folder", "last.ckpt", "one.ckpt", "other", "two.ckpt"]


@pytest.mark.parametrize("put", [store.link, store.copy])
def test_another_name_that_cannot_be_given(put: Any, tmp_path: Path) -> None:
    for name in ("one.ckpt", "folder/part", "taken/part"):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        store.atomic_save("one", name)
    for source in ("one.ckpt", "folder"):
        with pytest.raises(CheckpointSaveError, match="Something else has this name"):
            put(str(tmp_path / source), str(tmp_path / "taken"))
    assert sorted(os.listdir()) == ["folder", "one.ckpt", "taken"]


def test_a_damaged_file_is_not_copied() -> None:
    store.atomic_save("one", "one.ckpt")
    content = Path("one.ckpt").read_bytes()
    Path("one.ckpt").write_bytes(content[:-1])
    with pytest.raises(CheckpointSaveError, match="seal"):
        store.copy("one.ckpt", "last.ckpt")
    assert os.listdir() == ["one.ckpt"]
