from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.runs import Manual, Net, fit
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR

from fulmen.core.optimizer import LightningOptimizer, do_nothing_closure


@pytest.fixture
def pair() -> tuple[LightningOptimizer, Optimizer]:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    return LightningOptimizer(optimizer), optimizer


def test_it_is_of_both_classes(pair: tuple[Any, Optimizer]) -> None:
    wrapped, optimizer = pair
    assert isinstance(wrapped, LightningOptimizer) and isinstance(wrapped, SGD) and isinstance(wrapped, Optimizer)
    assert wrapped.optimizer is optimizer
    assert repr(wrapped).startswith("LightningSGD (")


def test_attributes_are_the_optimizers(pair: tuple[Any, Optimizer]) -> None:
    wrapped, optimizer = pair
    wrapped.param_groups[0]["lr"] = 0.5
    wrapped.note = "mine"
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.note == "mine"  # type: ignore[attr-defined]
    assert wrapped.state_dict() == optimizer.state_dict()
    with pytest.raises(AttributeError, match="missing"):
        wrapped.missing  # noqa: B018 - asking is the test


def test_a_scheduler_takes_it(pair: tuple[Any, Optimizer]) -> None:
    wrapped, optimizer = pair
    scheduler = StepLR(wrapped, 1, 0.5)
    calls: list[Any] = []
    wrapped._stepper = lambda optimizer, closure, **kwargs: calls.append(optimizer)
    wrapped.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert calls == [optimizer]


def test_outside_of_a_run_it_steps_alone(pair: tuple[Any, Optimizer]) -> None:
    wrapped, optimizer = pair
    (parameter,) = optimizer.param_groups[0]["params"]

    def closure() -> torch.Tensor:
        wrapped.zero_grad()
        loss = parameter.sum()
        loss.backward()
        return loss

    assert wrapped.step(closure) == 2.0
    assert torch.equal(parameter, torch.full((2,), 0.9))
    assert wrapped.step() is None
    assert do_nothing_closure() is None


def test_what_carries_the_step_out_gets_everything(pair: tuple[Any, Optimizer]) -> None:
    wrapped, optimizer = pair
    calls: list[Any] = []
    wrapped._stepper = lambda *args, **kwargs: calls.append((args, kwargs)) or "result"
    assert wrapped.step(len, extra=1) == "result"
    assert calls == [((optimizer, len), {"extra": 1})]


def test_a_closure_is_a_function(pair: tuple[Any, Optimizer]) -> None:
    with pytest.raises(TypeError, match=r"Received: Tensor\nWhat to do: `optimizer\.step\(\)`"):
        pair[0].step(torch.ones(()))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda wrapped: pickle.loads(pickle.dumps(wrapped))])
def test_copies_are_wrapped_too(pair: tuple[Any, Optimizer], duplicate: Any) -> None:
    twin = duplicate(pair[0])
    assert type(twin) is LightningOptimizer
    assert twin.optimizer is not pair[1]
    assert twin.param_groups[0]["momentum"] == 0.9


def test_toggle_model() -> None:
    seen: list[bool] = []

    class Toggles(Manual):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(2, 1)

        def configure_optimizers(self) -> Any:
            return SGD(self.layer.parameters(), 0.1), SGD(self.other.parameters(), 0.1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, _ = self.optimizers()
            with first.toggle_model(sync_grad=False):
                seen.append(self.layer.weight.requires_grad and not self.other.weight.requires_grad)
            seen.append(self.other.weight.requires_grad)

    fit(Toggles())
    assert seen == [True] * 4


def test_in_a_run_each_step_counts() -> None:
    class Steps(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            for _ in range(3):
                self.optimizers().step()

    assert fit(Steps()).global_step == 6
    assert fit(Net()).global_step == 2
