"""Losses by name equal what Lightning makes people write by hand, and go on from a checkpoint of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .scenarios import QUIET, quiet

BATCHES = 5


def gan(pl: Any, by_hand: bool) -> Any:
    """The same GAN for either framework."""

    class Gan(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.automatic_optimization = not by_hand
            self.generator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
            self.discriminator = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

        def losses(self, batch: Any) -> Iterator[tuple[str, Tensor]]:
            real, noise = batch
            made = self.generator(noise).detach()
            told = nn.functional.softplus(self.discriminator(made)) + nn.functional.softplus(-self.discriminator(real))
            yield "discriminator", told.mean()
            yield "generator", nn.functional.softplus(-self.discriminator(self.generator(noise))).mean()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if not by_hand:
                return self.losses(batch)
            losses = self.losses(batch)
            for optimizer in self.optimizers():
                self.toggle_optimizer(optimizer)
                _, loss = next(losses)
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, 0.2, "norm")
                optimizer.step()
                self.untoggle_optimizer(optimizer)
            return None

        def configure_optimizers(self) -> Any:
            made = {
                "discriminator": torch.optim.Adam(self.discriminator.parameters(), lr=0.02),
                "generator": torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9),
            }
            return list(made.values()) if by_hand else made

    return Gan()


def fit(pl: Any, epochs: int, by_hand: bool, start: Any = None, **flags: Any) -> Any:
    draw = torch.Generator().manual_seed(5)
    data = TensorDataset(torch.randn(BATCHES * 4, 3, generator=draw), torch.randn(BATCHES * 4, 2, generator=draw))
    with quiet():
        clip = {} if by_hand else {"gradient_clip_val": 0.2}
        trainer = pl.Trainer(**{**QUIET, "max_epochs": epochs, **clip, **flags})
        trainer.fit(gan(pl, by_hand), DataLoader(data, 4), ckpt_path=start)
    return trainer


def same(one: Any, other: Any) -> bool:
    weights = other.lightning_module.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.lightning_module.state_dict().items())


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_equals_manual_optimization_with_toggling(lightning: Any, fulmen: Any, precision: str) -> None:
    theirs, by_hand = (fit(pl, 2, by_hand=True, precision=precision) for pl in (lightning, fulmen))
    ours = fit(fulmen, 2, by_hand=False, precision=precision)
    assert same(ours, theirs) and same(by_hand, theirs)
    # Lightning counts each step of an optimizer under manual optimization, and so does Fulmen; names count batches.
    assert theirs.global_step == by_hand.global_step == 2 * ours.global_step == 2 * 2 * BATCHES


def test_goes_on_from_a_checkpoint_of_manual_optimization(lightning: Any, fulmen: Any, tmp_path: Path) -> None:
    started = fit(lightning, 2, by_hand=True)
    started.save_checkpoint(tmp_path / "theirs.ckpt")
    whole = fit(lightning, 4, by_hand=True)
    ours = fit(fulmen, 4, by_hand=False, start=tmp_path / "theirs.ckpt")
    assert same(ours, whole)
    assert ours.global_step == started.global_step + 2 * BATCHES
