from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import LBFGS, SGD

from fulmen.utilities.exceptions import MisconfigurationException

from .runs import Manual, Net, data, fit

EVENTS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


class Hears(Net):
    """Notes the events of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.heard.append("training_step")
        return super().training_step(batch, batch_idx)

    def on_before_zero_grad(self, optimizer: Any) -> None:
        self.heard.append("on_before_zero_grad")

    def on_before_backward(self, loss: Any) -> None:
        self.heard.append("on_before_backward")

    def on_after_backward(self) -> None:
        self.heard.append("on_after_backward")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.heard.append("on_before_optimizer_step")


class ByHook(Hears):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)


class OwnStep(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class ByOwn(Hears):
    def configure_optimizers(self) -> Any:
        return OwnStep(self.parameters(), 0.1)


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("kind", [ByHook, ByOwn])
def test_events_and_weights_do_not_depend_on_how_the_step_is_taken(kind: type[Hears], window: int) -> None:
    torch.manual_seed(0)
    plain, other = Hears(), kind()
    other.load_state_dict(plain.state_dict())
    for module in (plain, other):
        fit(module, data(4), accumulate_grad_batches=window)
    assert plain.heard == other.heard
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


def test_a_window_is_zeroed_once_and_stepped_once() -> None:
    module = Hears()
    fit(module, data(3), accumulate_grad_batches=2)
    first = ["training_step", "on_before_zero_grad", "on_before_backward", "on_after_backward"]
    inner = [event for event in first if event != "on_before_zero_grad"]
    step = ["on_before_optimizer_step"]
    assert module.heard == first + inner + step + first + step


def test_lbfgs_computes_as_often_as_it_likes() -> None:
    class Newton(Hears):
        def configure_optimizers(self) -> Any:
            return LBFGS(self.parameters(), max_iter=3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            super().training_step(batch, batch_idx)
            return (self(batch[0]) - 1).pow(2).mean()

    module = Newton()
    assert fit(module, data(1)).global_step == 1
    assert module.heard.count("training_step") > 1
    assert module.heard.count("training_step") == module.heard.count("on_before_optimizer_step")


def test_values_logged_in_overrides_are_those_of_the_step() -> None:
    class Logs(Net):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            self.log("step", 1.0)
            optimizer.step(closure=optimizer_closure)

        def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
            self.log("backward", 2.0)
            loss.backward()

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.log("zero", 3.0)
            optimizer.zero_grad()

        def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
            self.log("clip", 4.0)

    found = fit(Logs()).callback_metrics
    assert {key: value.item() for key, value in found.items()} == {"step": 1, "backward": 2, "zero": 3, "clip": 4}


@pytest.mark.parametrize("call", [lambda closure: closure(), lambda closure: [closure(), closure()]])
def test_a_step_left_out_counts_all_the_same(call: Any) -> None:
    class LeavesOut(Net):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            call(optimizer_closure)

    module = LeavesOut()
    before = module.layer.weight.clone()
    assert fit(module, data(2)).global_step == 2
    assert torch.equal(module.layer.weight, before)


def test_overrides_get_the_wrapped_optimizer_and_the_counts() -> None:
    got: list[Any] = []

    class Watches(Net):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            got.append((epoch, batch_idx, optimizer is self.optimizers(), self.global_step))
            optimizer.step(closure=optimizer_closure)

    fit(Watches(), data(2), max_epochs=2)
    assert got == [(0, 0, True, 0), (0, 1, True, 1), (1, 0, True, 2), (1, 1, True, 3)]


def test_manual_optimization_counts_what_was_stepped() -> None:
    class Two(Manual):
        def configure_optimizers(self) -> Any:
            return [SGD(self.parameters(), 0.1), SGD(self.parameters(), 0.1)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            first.step()
            if batch_idx:
                second.step(closure=lambda: self(batch[0]).sum())

    trainer = fit(Two(), data(3))
    assert trainer.global_step == 5
    assert trainer.progress.windows == 3


def test_a_vector_is_no_loss_under_any_precision() -> None:
    class Vector(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch[0]).squeeze(1).double()

    for precision in ("32-true", "bf16-mixed", "64-true"):
        with pytest.raises(RuntimeError, match=r"`loss\.mean\(\)`"):
            fit(Vector(), precision=precision)


def test_other_errors_of_backward_are_torchs_own() -> None:
    class Breaks(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self(batch[0]).mean()
            loss.register_hook(lambda grad: (_ for _ in ()).throw(RuntimeError("boo")))
            return loss

    with pytest.raises(RuntimeError, match=r"^boo$") as caught:
        fit(Breaks())
    assert not isinstance(caught.value, MisconfigurationException)
