from __future__ import annotations

from typing import Any

import torch
from tests.runs import Manual, Net, fit

from fulmen.core.optimizer import LightningOptimizer
from fulmen.strategies.single_device import SingleDeviceStrategy


class Stepping(Manual):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self(batch[0]).mean())
        optimizer.step()


def test_a_strategy_asks_for_the_optimizers() -> None:
    asked = []

    class Asking(SingleDeviceStrategy):
        def setup_optimizers(self, trainer: Any) -> None:
            super().setup_optimizers(trainer)
            asked.append(list(self.optimizers))

    trainer = fit(Net(), strategy=Asking())
    assert asked == [trainer.optimizers]


def test_a_strategy_makes_the_optimizers() -> None:
    """What it puts there is what steps, wrapped for the module."""

    class Making(SingleDeviceStrategy):
        def setup_optimizers(self, trainer: Any) -> None:
            self.optimizers = [torch.optim.SGD(trainer.lightning_module.parameters(), lr=0.5)]

    module = Stepping()
    before = module.layer.bias.detach().clone()
    trainer = fit(module, strategy=Making(), max_steps=1)
    (wrapped,) = trainer.strategy._lightning_optimizers
    assert isinstance(wrapped, LightningOptimizer)
    assert wrapped.optimizer is trainer.optimizers[0]
    torch.testing.assert_close(before - module.layer.bias, torch.tensor([0.5]))


def test_optimizers_are_made_anew_when_asked_for() -> None:
    trainer = fit(Net())
    (first,) = trainer.optimizers
    trainer.strategy.setup_optimizers(trainer)
    (second,) = trainer.optimizers
    assert second is not first
    assert trainer.lightning_module.optimizers(use_pl_optimizer=True).optimizer is second
