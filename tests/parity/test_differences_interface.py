"""Where Fulmen's interface differs from Lightning's on purpose: rows of ``docs/differences.md``."""

from __future__ import annotations

import importlib
import socket
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .differing import both, trainer
from .scenarios import quiet


def part(pl: Any, module: str) -> Any:
    return importlib.import_module(f"{pl.__name__}.{module}")


def _old(version: str = "1.4.0") -> dict[str, Any]:
    return {"epoch": 3, "global_step": 10, "pytorch-lightning_version": version, "state_dict": {"w": torch.ones(1)}}


def test_backups_of_upgrades(
    lightning: ModuleType, fulmen: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 77. Each original is there afterwards, byte by byte, under some name."""

    def script(pl: Any) -> Any:
        folder = tmp_path / pl.__name__
        folder.mkdir()
        originals = []
        for number, name in enumerate(("a.ckpt", "a.pt")):
            torch.save({**_old(), "number": number}, folder / name)
            originals.append((folder / name).read_bytes())
            monkeypatch.setattr(sys, "argv", ["upgrade_checkpoint", str(folder / name)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                part(pl, "utilities.upgrade_checkpoint").main()
        kept = [file.read_bytes() for file in folder.iterdir()]
        return [original in kept for original in originals]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs.count(True) == 1
    assert ours == [True, True]


def test_logged_steps_after_an_upgrade(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 78. Ten steps were made, so the next value is that of the eleventh, as it is in a file of version 1.6."""

    def script(pl: Any) -> Any:
        found = []
        for version in ("1.4.0", "1.6.0"):
            checkpoint = _old(version)
            if version == "1.6.0":
                steps = {"total": {"ready": 10, "completed": 10}, "current": {"ready": 10, "completed": 10}}
                batches = {name: dict.fromkeys(("ready", "started", "processed", "completed"), 10) for name in steps}
                prefix = "epoch_loop.batch_loop"
                checkpoint["loops"] = {
                    "fit_loop": {
                        "epoch_loop.state_dict": {},
                        "epoch_loop.batch_progress": {**batches, "is_last_batch": True},
                        f"{prefix}.optimizer_loop.optim_progress": {"optimizer": {"step": steps}},
                        f"{prefix}.manual_loop.optim_step_progress": steps,
                        "epoch_progress": batches,
                    }
                }
            made, _ = part(pl, "utilities.migration.utils").migrate_checkpoint(checkpoint)
            found.append(made["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"])
        return found

    assert both(lightning, fulmen, script) == ([0, 10], [10, 10])


def test_layers_come_back(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 79. The model prints as before, and its layers take what torch's take."""

    def script(pl: Any) -> Any:
        model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(2))
        before = str(model)
        sync = pl.plugins.TorchSyncBatchNorm()
        model = sync.revert(sync.apply(model))
        try:
            model[0](torch.zeros(2, 2))
        except ValueError:
            return str(model) == before
        return "takes a matrix for an image"

    assert both(lightning, fulmen, script) == ("takes a matrix for an image", True)


def test_a_scalar_beside_samples(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 80. Of batches of 1 and 3 samples, the mean of the samples is (1·10 + 3·2) / 4."""

    def script(pl: Any) -> Any:
        class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
            def validation_step(self, batch: Any, batch_idx: int) -> None:
                self.log("mean", batch[1].mean())

        batches = [(torch.tensor(0.1), torch.full((1,), 10.0)), (torch.tensor(0.1), torch.full((3,), 2.0))]
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (found,) = trainer(pl).validate(Model(), DataLoader(batches, batch_size=None), verbose=False)
            size = part(pl, "utilities.data").extract_batch_size(batches[1])
        return found["mean"], size

    theirs, ours = both(lightning, fulmen, script)
    assert ours == ((1 * 10 + 3 * 2) / 4, 3)
    assert theirs == (6.0, 1)


def test_places_of_words(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 81. Four places have four codes, the sine of the place first."""

    def script(pl: Any) -> Any:
        encoded = part(pl, "demos.transformer").PositionalEncoding(6, dropout=0.0)(torch.zeros(1, 4, 6))[0]
        return len(torch.unique(encoded, dim=0)), torch.allclose(encoded[:, 0], torch.sin(torch.arange(4.0)))

    assert both(lightning, fulmen, script) == ((1, False), (4, True))


class _Wrong:
    """Answers with other numbers than it says."""

    def configure_payload(self) -> dict[str, Any]:
        return {"body": {"x": [1.0]}}

    def configure_serialization(self) -> Any:
        return {"x": torch.tensor}, {"output": Tensor.tolist}

    def serve_step(self, x: Tensor) -> dict[str, Tensor]:
        return {"output": x}

    def configure_response(self) -> dict[str, Any]:
        return {"output": [2.0]}


def test_a_wrong_response(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 82. A response that is not the expected one is no success, and under the flag no end."""
    for name in ("fastapi", "uvicorn", "requests"):
        pytest.importorskip(name)

    def script(pl: Any) -> Any:
        kind = type(
            "Wrong", (_Wrong, part(pl, "serve").ServableModule, part(pl, "demos.boring_classes").BoringModel), {}
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        callback = part(pl, "serve").ServableModuleValidator(port=port, exit_on_failure=False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer(pl, callbacks=[callback], limit_train_batches=1, limit_val_batches=0).fit(kind())
        except Exception:
            return "raised", callback.successful
        return "went on", callback.successful

    assert both(lightning, fulmen, script) == (("raised", True), ("went on", False))
