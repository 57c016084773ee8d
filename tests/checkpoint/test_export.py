from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.export import export_safetensors
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException

safetensors = pytest.importorskip("safetensors", reason="an extra")


def _read(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 - no mapping


class Tied(LightningModule):
    """Its embedding is its head, and one weight is a view of another."""

    def __init__(self, folder: Path = Path("x"), sizes: Any = (4, 3), kind: type = nn.ReLU) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.embedding = nn.Embedding(*sizes)
        self.head = nn.Linear(sizes[1], sizes[0], bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("table", torch.arange(6.0).view(2, 3).t())
        self.register_buffer("part", self.table[:2])

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.head(self.embedding(batch)).sum()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters())
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


@pytest.fixture
def path() -> str:
    model = Tied(Path("a/b"), np.array([4, 3]))
    saving = ModelCheckpoint(".", filename="model", save_last=True, monitor="loss")
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=[saving, EarlyStopping("loss", mode="max")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, torch.utils.data.DataLoader(torch.arange(4), batch_size=2))  # type: ignore[arg-type]
    return saving.best_model_path


def test_torch_reads_a_whole_checkpoint_safely(path: str) -> None:
    checkpoint = torch.load(path, weights_only=True)
    keys = {"state_dict", "optimizer_states", "lr_schedulers", "callbacks", "hyper_parameters", "fulmen"}
    assert keys <= checkpoint.keys()
    loaded = Tied.load_from_checkpoint(path)
    assert (loaded.hparams.folder, loaded.hparams.sizes.tolist(), loaded.hparams.kind) == (Path("a/b"), [4, 3], nn.ReLU)


def test_weights_go_to_safetensors_and_come_back(path: str) -> None:
    model = Tied.load_from_checkpoint(path)
    written = export_safetensors(path, "deep/model.safetensors")
    tensors, metadata = _read("deep/model.safetensors")
    assert set(written) == set(tensors) == set(model.state_dict())
    assert json.loads(metadata["tied"]) == {"head.weight": "embedding.weight"}
    fresh = Tied(sizes=(4, 3))
    fresh.load_state_dict(tensors)
    for name, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
    assert os.listdir("deep") == ["model.safetensors"]


def test_tied_weights_can_be_written_once(path: str) -> None:
    assert "head.weight" not in export_safetensors(path, "m.safetensors", copy_tied=False)
    tensors, metadata = _read("m.safetensors")
    tensors.update({name: tensors[first] for name, first in json.loads(metadata["tied"]).items()})
    Tied(sizes=(4, 3)).load_state_dict(tensors)
    whole, once = Path("whole.safetensors"), Path("m.safetensors")
    export_safetensors(path, whole)
    assert once.stat().st_size < whole.stat().st_size


def test_part_of_the_weights(path: str) -> None:
    assert export_safetensors(path, "m.safetensors", prefix="head.") == ["weight"]
    with pytest.raises(MisconfigurationException, match=r"(?s)begin with 'hed.'.*the attribute's name and a dot"):
        export_safetensors(path, "m.safetensors", prefix="hed.")


def test_what_is_no_tensor_and_what_is_not_dense() -> None:
    torch.save({"w": torch.ones(1), "_extra_state": {"a": 1}}, "state.pt")
    with pytest.warns(UserWarning, match=r"left out: \['_extra_state'\]"):
        assert export_safetensors("state.pt", "m.safetensors") == ["w"]
    torch.save({"w": torch.ones(2).to_sparse()}, "state.pt")
    with pytest.raises(TypeError, match=r"(?s)`w`, which is torch.sparse_coo.*`to_dense\(\)`"):
        export_safetensors("state.pt", "m.safetensors")
    torch.save([1], "state.pt")
    with pytest.raises(MisconfigurationException, match="Name a checkpoint"):
        export_safetensors("state.pt", "m.safetensors")


def test_a_failed_write_leaves_what_was_there(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    export_safetensors(path, "m.safetensors")
    before = Path("m.safetensors").read_bytes()

    def fails(tensors: Any, file: str, metadata: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "no space")

    monkeypatch.setattr("safetensors.torch.save_file", fails)
    with pytest.raises(OSError, match="no space"):
        export_safetensors(path, "m.safetensors")
    assert Path("m.safetensors").read_bytes() == before
    assert not list(Path().glob("*.part"))
