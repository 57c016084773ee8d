"""Strategies of the user's that override what a run does with batches, steps, backward and loaders."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from .differing import both, loader, trainer

OVERRIDES = (
    *(f"{stage}_step" for stage in ("training", "validation", "test", "predict")),
    *(f"on_{stage}_{end}" for stage in ("train", "validation", "test", "predict") for end in ("start", "end")),
    *("backward", "pre_backward", "post_backward", "batch_to_device", "process_dataloader", "optimizer_step"),
    *("on_train_batch_start", "post_training_step"),
)
HEARD = (
    *OVERRIDES[:12],
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "on_train_batch_start"),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"),
    *("on_train_batch_end", "on_validation_batch_start"),
)


def noting(kind: type, names: tuple[str, ...], heard: list[str], **members: Any) -> type:
    """A class whose methods note that they were called and do what they did."""

    def method(name: str) -> Any:
        def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
            heard.append(f"{kind.__name__} {name}")
            return getattr(kind, name)(self, *args, **kwargs)

        return noted

    return type(kind.__name__, (kind,), {**{name: method(name) for name in names}, **members})


def module(pl: Any, heard: list[str], manual: bool = False) -> Any:
    class Model(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.automatic_optimization = not manual

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            loss = self.layer(batch).pow(2).mean()
            if manual:
                self.manual_backward(loss)
                self.optimizers().step()
                self.optimizers().zero_grad()
            return loss

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            self.log("value", self.layer(batch).sum())

        test_step = validation_step

        def predict_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.layer(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return noting(Model, HEARD, heard)()


@pytest.mark.parametrize(("window", "manual"), [(1, False), (2, False), (1, True)])
def test_all_overrides_are_called_in_the_same_order(
    lightning: ModuleType, fulmen: ModuleType, window: int, manual: bool
) -> None:
    def script(pl: Any) -> Any:
        heard: list[str] = []
        strategy = noting(pl.strategies.SingleDeviceStrategy, OVERRIDES, heard)("cpu")
        model, data, records = module(pl, heard, manual), loader(torch.ones(4, 2)), []
        runner = trainer(pl, strategy=strategy, accumulate_grad_batches=window)
        runner.fit(model, data, loader(torch.ones(2, 2)))
        for run in (runner.validate, runner.test, runner.predict):
            records.append(heard.copy())
            heard.clear()
            run(model, data)
        # when loaders are made is no matter of strategies
        rest = [[one for one in part if "process_dataloader" not in one] for part in (*records, heard)]
        loaders = [part.count("SingleDeviceStrategy process_dataloader") for part in (*records, heard)]
        return rest, loaders, [p.tolist() for p in model.parameters()]

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs
    called = {one.partition(" ")[2] for part in ours[0] for one in part if one.startswith("Single")}
    assert called == set(OVERRIDES) - {"process_dataloader"}
    assert ours[1] == [2, 1, 1, 1]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_figures_are_those_of_the_overrides(lightning: ModuleType, fulmen: ModuleType, precision: str) -> None:
    def script(pl: Any) -> Any:
        class Changed(pl.strategies.SingleDeviceStrategy):  # type: ignore[misc]
            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                scale = torch.full((1, 1), 1.001)
                return (super().training_step(*args, **kwargs).reshape(1, 1).float() @ scale).sum()

            def validation_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
                return super().validation_step(batch + 1, *args, **kwargs)

            def predict_step(self, *args: Any, **kwargs: Any) -> Any:
                return super().predict_step(*args, **kwargs) - 5

            def backward(self, closure_loss: Any, *args: Any, **kwargs: Any) -> Any:
                return super().backward(closure_loss * 3, *args, **kwargs)

            def batch_to_device(self, batch: Any, device: Any = None, dataloader_idx: int = 0) -> Any:
                return super().batch_to_device(batch * 2, device, dataloader_idx)

            def process_dataloader(self, dataloader: Any) -> Any:
                return [batch + 0.5 for batch in dataloader]

        model, data = module(pl, []), loader(torch.arange(8.0).reshape(4, 2) / 8)
        runner = trainer(pl, strategy=Changed("cpu"), precision=precision)
        runner.fit(model, data, data)
        value = runner.callback_metrics["value"].item()
        weights = [p.tolist() for p in model.parameters()]
        return weights, value, [one.tolist() for one in runner.predict(model, data)]

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs


@pytest.mark.parametrize("manual", [False, True])
def test_a_backward_without_its_base(lightning: ModuleType, fulmen: ModuleType, manual: bool) -> None:
    def script(pl: Any) -> Any:
        heard: list[str] = []

        def backward(self: Any, closure_loss: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            heard.append(f"own {type(optimizer).__name__}")
            (closure_loss * 2).backward()

        strategy = type("Own", (pl.strategies.SingleDeviceStrategy,), {"backward": backward})("cpu")
        model = module(pl, heard, manual)
        trainer(pl, strategy=strategy).fit(model, loader(torch.ones(4, 2)))
        return heard, [p.tolist() for p in model.parameters()]

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs


def test_a_batch_that_a_hook_refuses(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        heard: list[str] = []
        strategy = noting(pl.strategies.SingleDeviceStrategy, OVERRIDES, heard)("cpu")
        model = module(pl, heard)
        type(model).on_train_batch_start = lambda self, batch, batch_idx: -1
        trainer(pl, strategy=strategy).fit(model, loader(torch.ones(4, 2)))
        return [one for one in heard if "process_dataloader" not in one]

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs
    assert "SingleDeviceStrategy training_step" not in ours


def test_each_of_several_training_loaders_is_processed(lightning: ModuleType, fulmen: ModuleType) -> None:
    def script(pl: Any) -> Any:
        class Doubling(pl.strategies.SingleDeviceStrategy):  # type: ignore[misc]
            def process_dataloader(self, dataloader: Any) -> Any:
                return [batch * 2 for batch in dataloader]

        class Model(type(module(pl, []))):  # type: ignore[misc]
            def training_step(self, batch: Any, batch_idx: int) -> Any:
                return super().training_step(batch["a"] + batch["b"], batch_idx)

        model, data = Model(), {"a": loader(torch.ones(4, 2)), "b": loader(torch.ones(2, 2))}
        trainer(pl, strategy=Doubling("cpu")).fit(model, data)
        return [p.tolist() for p in model.parameters()]

    theirs, ours = both(lightning, fulmen, script)
    assert ours == theirs
