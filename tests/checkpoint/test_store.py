from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.checkpoint import store
from fulmen.utilities.exceptions import MisconfigurationException

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


def test_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="Give a path"):
        store.atomic_save(1, "s3://bucket/a.ckpt")
