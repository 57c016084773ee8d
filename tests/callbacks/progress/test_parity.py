"""The bars are those that Lightning shows, but for how often they are drawn."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen

from .terminal import terminal

MASKS = (
    (r"\[.*?it/s", "[time"),
    (r"[█▏▎▍▌▋▊▉]+\s*(?=\|)", "bar"),
    (r"\s+(?=\|)", " "),
    (r"=-?[\d.]+(e-?\d+)?", "=number"),
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor log lines."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@pytest.fixture(scope="module")
def lightning() -> ModuleType:
    """PyTorch Lightning, the reference."""
    with quiet():
        module: ModuleType = pytest.importorskip("pytorch_lightning", reason="the reference of the parity tests")
    return module


def _fit(pl: ModuleType, leave: bool = False, **flags: Any) -> None:
    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.layer(batch[0]).square().mean()
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.layer(batch[0]).sum(), prog_bar=True)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.01)

    def loader(batches: int) -> Any:
        return DataLoader(TensorDataset(torch.ones(batches, 4)))

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[pl.callbacks.TQDMProgressBar(leave=leave)], **flags,
    )  # fmt: skip
    trainer.fit(Model(), loader(6), loader(3))


def _masked(text: str) -> str:
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


@pytest.mark.parametrize(
    "flags", [{}, {"leave": True}, {"val_check_interval": 0.5}, {"num_sanity_val_steps": 0}, {"max_steps": 8}], ids=str
)
def test_the_bars_are_the_same(flags: dict[str, Any], lightning: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    screens, progress = [], []
    for pl in (lightning, fulmen):
        with quiet(), terminal(monkeypatch) as found:
            _fit(pl, **flags)
        screens.append([_masked(line) for line in found.screen if not line.startswith("Training")])
        progress.append({_masked(drawing).partition(" [")[0] for drawing in found.drawings})
    if flags.get("max_steps"):
        # Lightning counts the batches that will never come, unless there is no end of epochs.
        assert screens[1][0].startswith("Epoch 1: 100%|bar| 2/2 ")
        return
    assert screens[1] == screens[0]
    assert progress[1] <= progress[0]
