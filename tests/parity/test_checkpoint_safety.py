"""What a file from an address may do, and what becomes of an argument that a file could not hold."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .scenarios import quiet


class _Marker:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _model(package: ModuleType) -> Any:
    class Model(package.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self, loss: Any = abs) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, 1)
            self.loss = loss

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Model


def test_a_file_from_an_address_runs_nothing(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 40. What the address holds is a program."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    content = {"pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0, "extra": _Marker()}
    torch.save({**content, "state_dict": _model(fulmen)().state_dict()}, tmp_path / "evil.ckpt")

    def ran(package: ModuleType, address: str) -> bool:
        Path("ran").unlink(missing_ok=True)
        with quiet():
            try:
                _model(package).load_from_checkpoint(address)
            except Exception as error:
                assert "weights_only=False" in str(error)
        return Path("ran").exists()

    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/evil.ckpt"
        assert ran(lightning, address)
        assert not ran(fulmen, address)
        server.shutdown()


def test_an_argument_that_the_file_lacks_is_asked_for(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path
) -> None:
    """Row 41. Lightning takes the default of ``__init__``: another loss than the model was trained with."""

    def loaded(package: ModuleType) -> Any:
        model = _model(package)
        off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        with quiet():
            trainer = package.Trainer(max_epochs=1, accelerator="cpu", **off)
            trainer.fit(model(lambda loss: loss), torch.utils.data.DataLoader(torch.ones(2, 2)))
            trainer.save_checkpoint(tmp_path / "model.ckpt")
            try:
                return model.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=False).loss
            except TypeError as error:
                return str(error)

    assert loaded(lightning) is abs
    assert "load_from_checkpoint(path, loss=...)" in loaded(fulmen)
