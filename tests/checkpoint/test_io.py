from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fulmen.checkpoint.io import CheckpointIO, TorchCheckpointIO
from fulmen.utilities.safe_load import UnsafeCheckpointError


def test_saves_loads_and_removes() -> None:
    io = TorchCheckpointIO()
    assert isinstance(io, CheckpointIO)
    io.save_checkpoint({"w": torch.ones(2)}, "folder/a.ckpt")
    loaded = io.load_checkpoint("folder/a.ckpt")["w"]
    assert torch.equal(loaded, torch.ones(2))
    assert loaded.device.type == "cpu"
    assert io.load_checkpoint("folder/a.ckpt", map_location="meta")["w"].device.type == "meta"
    io.remove_checkpoint("folder/a.ckpt")
    assert os.listdir("folder") == []
    for path in ("folder/a.ckpt", "folder"):
        io.remove_checkpoint(path)
        assert not os.path.exists(path)
    io.teardown()


def test_loads_safely_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"act": torch.nn.ReLU()}, path)
    io = TorchCheckpointIO()
    with pytest.raises(UnsafeCheckpointError, match="weights_only=False"):
        io.load_checkpoint(path)
    assert isinstance(io.load_checkpoint(path, weights_only=False)["act"], torch.nn.ReLU)


def test_storage_options_need_another_storage() -> None:
    with pytest.raises(TypeError, match=r"Trainer\(plugins=\[MyIO\(\)\]\)"):
        TorchCheckpointIO().save_checkpoint({}, "a.ckpt", storage_options={})


def test_the_base_cannot_be_used_alone() -> None:
    with pytest.raises(TypeError, match="abstract"):
        CheckpointIO()
