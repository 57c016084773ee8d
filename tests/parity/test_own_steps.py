"""Precisions and strategies of the user's with an `optimizer_step` of their own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from .differing import both, trainer


def _precision(pl: Any, heard: list[str]) -> Any:
    class Told(pl.plugins.Precision):  # type: ignore[misc]
        def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
            heard.append(f"precision {type(model).__name__}")
            result = super().optimizer_step(optimizer, model=model, closure=closure, **kwargs)
            heard.append("stepped")
            return result

    return {"plugins": Told()}


def _strategy(pl: Any, heard: list[str]) -> Any:
    class Told(pl.strategies.SingleDeviceStrategy):  # type: ignore[misc]
        def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **kwargs: Any) -> Any:
            heard.append(f"strategy {type(optimizer).__name__} {model}")
            result = super().optimizer_step(optimizer, closure, model, **kwargs)
            heard.append("stepped")
            return result

    return {"strategy": Told(device="cpu")}


@pytest.mark.parametrize(("window", "manual"), [(1, False), (2, False), (1, True)])
@pytest.mark.parametrize("part", [_precision, _strategy])
def test_they_are_called_alike(lightning: ModuleType, fulmen: ModuleType, part: Any, window: int, manual: bool) -> None:
    def script(pl: Any) -> Any:
        heard: list[str] = []

        class Model(pl.LightningModule):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(2, 1)
                self.automatic_optimization = not manual

            def training_step(self, batch: Any, batch_idx: int) -> Any:
                heard.append(f"training_step {batch_idx}")
                loss = self.layer(batch[0]).pow(2).mean()
                if manual:
                    self.optimizers().zero_grad()
                    self.manual_backward(loss)
                    self.optimizers().step()
                return loss

            def on_before_optimizer_step(self, optimizer: Any) -> None:
                heard.append("on_before_optimizer_step")

            def configure_optimizers(self) -> Any:
                return torch.optim.Adam(self.parameters(), 0.1)

        torch.manual_seed(0)
        model = Model()
        data = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2)
        options = {} if manual else {"accumulate_grad_batches": window}
        trainer(pl, max_epochs=2, **options, **part(pl, heard)).fit(model, data)
        return heard, [value.tolist() for value in model.parameters()]

    theirs, ours = both(lightning, fulmen, script)
    assert theirs == ours
