"""Runs whose checkpoints lie at addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from tests.runs import QUIET, Net, data

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint import remote
from fulmen.checkpoint.io import TorchCheckpointIO
from fulmen.checkpoint.store import load
from fulmen.trainer.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints .* is not empty")


@pytest.fixture(params=["memory", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}/bucket/run"


def names(folder: str) -> list[str]:
    filesystem, inner = fsspec.core.url_to_fs(folder)
    return sorted(Path(path).name for path in filesystem.ls(inner, detail=False))


def train(folder: str, epochs: int, path: Any = None) -> Trainer:
    checkpoint = ModelCheckpoint(folder, filename="{epoch}", save_last=True)
    flags = {**QUIET, "enable_checkpointing": True, "max_epochs": epochs}
    trainer = Trainer(callbacks=[checkpoint], **flags)
    trainer.fit(Net(), data(2), ckpt_path=path)
    return trainer


def test_a_run_saves_and_goes_on(folder: str) -> None:
    train(folder, 1)
    assert names(folder) == ["epoch=0.ckpt", "last.ckpt"]
    second = train(folder, 2, "last")
    assert second.global_step == 4
    assert "epoch=1.ckpt" in names(folder)
    best = second.checkpoint_callback.best_model_path
    assert load(best)["global_step"] == 4
    third = train(folder, 3, f"{folder}/epoch=1.ckpt")
    assert third.global_step == 6
    third.validate(_Validates(), data(1), ckpt_path="best", verbose=False)


class _Validates(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self(batch[0]).mean())


def test_retention_removes_remote_files(folder: str) -> None:
    train(folder, 3)
    assert names(folder) == ["epoch=2.ckpt", "last.ckpt"]


def test_the_seam_takes_addresses(folder: str) -> None:
    io, path = TorchCheckpointIO(), f"{folder}/a.ckpt"
    io.save_checkpoint({"w": torch.ones(2)}, path)
    assert torch.equal(io.load_checkpoint(path)["w"], torch.ones(2))
    io.remove_checkpoint(path)
    assert names(folder) == []
    io.remove_checkpoint(folder)
    filesystem, inner = fsspec.core.url_to_fs(folder)
    assert not filesystem.exists(inner)


def test_a_bucket_that_may_not_be_made_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no such right")

    monkeypatch.setattr(type(memory), "makedirs", refuse)
    TorchCheckpointIO().save_checkpoint({}, "memory://mine/a.ckpt")
    assert memory.exists("/mine/a.ckpt")
    remote.remove("memory://mine")
    assert not memory.exists("/mine/a.ckpt")
