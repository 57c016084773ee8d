from __future__ import annotations

import io
import os
import pathlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.utilities import safe_load
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.safe_load import DamagedCheckpointError, UnsafeCheckpointError, load

from .nested import save_nested


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save({"w": torch.arange(3)}, path)
    return path


def test_reads_paths_files_and_addresses(good: Path) -> None:
    with open(good, "rb") as file:
        sources: list[Any] = [good, str(good), file, io.BytesIO(good.read_bytes()), f"file://{good}"]
        for source in sources:
            assert torch.equal(load(source)["w"], torch.arange(3))


def test_map_location(good: Path) -> None:
    assert load(good, map_location="meta")["w"].device.type == "meta"


def test_a_device_that_is_not_there_becomes_the_cpu() -> None:
    storage = torch.ones(2).untyped_storage()
    assert safe_load.where_it_was(storage, "cuda:99").device.type == "cpu"


def test_refuses_code_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "p.ckpt"
    torch.save({"root": pathlib.PurePosixPath("/x"), "act": torch.nn.ReLU()}, path)
    with pytest.raises(UnsafeCheckpointError, match=r"weights_only=False") as caught:
        load(path)
    assert "pathlib.PurePosixPath" in str(caught.value)
    assert "torch.nn.modules.activation.ReLU" in str(caught.value)
    assert isinstance(caught.value, pickle.UnpicklingError)
    assert load(path, weights_only=False)["root"] == pathlib.PurePosixPath("/x")


class Attack:
    def __reduce__(self) -> Any:
        return os.mkdir, ("broken_in",)


@pytest.mark.parametrize("zipped", [True, False])
def test_runs_no_code(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"w": Attack()}, path, _use_new_zipfile_serialization=zipped)
    for weights_only in (None, True):
        with pytest.raises(UnsafeCheckpointError, match="mkdir"):
            load(path, weights_only=weights_only)
    assert not os.path.exists("broken_in")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and nothing more", bytes(1000)])
def test_a_damaged_file_is_called_that(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "torn.ckpt"
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"(?s)torn.ckpt. is no checkpoint.*Load another"):
        load(path)


def test_a_truncated_file_is_damaged(good: Path) -> None:
    content = good.read_bytes()
    for length in range(1, len(content), len(content) // 20):
        good.write_bytes(content[:length])
        with pytest.raises(DamagedCheckpointError):
            load(good)


def test_a_missing_file_offers_its_neighbour(good: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Did you mean `model.ckpt`"):
        load(good.with_name("modle.ckpt"))
    with pytest.raises(FileNotFoundError, match="no checkpoint at this path"):
        load(good / "deeper" / "x.ckpt")


def test_a_file_that_cannot_be_read_offers_the_one_before(good: Path) -> None:
    folder = good.with_name("folder.ckpt")
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match=f"(?s)What to do: see that the file can be read.*before it: `{good}`"):
        load(folder)


def test_a_folder_that_cannot_be_listed_hides_no_damage(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    good.write_bytes(good.read_bytes()[:-1])
    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DamagedCheckpointError, match="Load another checkpoint of the same run"):
        load(good)


@pytest.mark.parametrize("trusted", [None, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_another_kind(tmp_path: Path, protocol: int, trusted: bool | None) -> None:
    """Are named, and nothing in them is read."""
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Attack()}, protocol))
    with pytest.raises(DamagedCheckpointError, match=r"(?s)a plain pickle.*read it with `pickle.load`"):
        load(path, weights_only=trusted)
    for header in (b"{}", b'{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'):
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(DamagedCheckpointError, match=r"(?s)a safetensors file.*safetensors.torch.load_file"):
            load(path, weights_only=trusted)
    torch.save({"w": 1}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert load(path, weights_only=False) == {"w": 1}
    assert not os.path.exists("broken_in")


@pytest.mark.parametrize("trusted", [None, False])
def test_a_pickle_without_a_mark_is_no_checkpoint(tmp_path: Path, trusted: bool | None) -> None:
    """torch's own advice, to read it without care, is not passed on."""
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps({"a": 1}, 0))
    with pytest.raises(DamagedCheckpointError, match="is no checkpoint, or it is damaged") as caught:
        load(path, weights_only=trusted)
    assert "weights_only" not in str(caught.value)


def test_stand_ins_in_what_is_nested_too_deep(tmp_path: Path) -> None:
    save_nested({"pytorch-lightning_version": "1.8.0"}, "x", tmp_path / "a.ckpt", pathlib.PurePosixPath("/x"))
    with pytest.warns(UserWarning, match="pathlib"), pytest.raises(MisconfigurationException, match="store it flat"):
        load(tmp_path / "a.ckpt")


class Odd:
    """No version of anything."""


@pytest.mark.parametrize("trusted", [None, False])
@pytest.mark.parametrize("odd", [Odd(), "x", [1], {"": Odd()}, {"": "x"}, {"": {"version": Odd()}}])
@pytest.mark.filterwarnings("ignore:.*names classes or functions")
def test_what_is_no_version_of_a_module_is_ignored(odd: Any, trusted: bool | None, tmp_path: Path) -> None:
    """torch looks for these beside the weights, and fails on anything else."""
    norm = torch.nn.BatchNorm1d(2)
    state: Any = norm.state_dict()
    state._metadata = odd
    torch.save({"pytorch-lightning_version": "1.8.0", "state_dict": state}, tmp_path / "odd.ckpt")
    found = load(tmp_path / "odd.ckpt", weights_only=trusted)["state_dict"]
    assert list(found) == list(state)
    torch.nn.BatchNorm1d(2).load_state_dict(found)


def test_versions_of_modules_are_kept(tmp_path: Path) -> None:
    """Also beside an odd one."""
    state: Any = torch.nn.Sequential(torch.nn.BatchNorm1d(2)).state_dict()
    for odd in ({}, {"1": "x"}):
        state._metadata = {"": {"version": 1}, "0": {"version": 2, "more": "x"}, **odd}
        torch.save({"state_dict": state}, tmp_path / "a.ckpt")
        found = load(tmp_path / "a.ckpt")["state_dict"]
        assert found._metadata == {"": {"version": 1}, "0": {"version": 2, "more": "x"}}
