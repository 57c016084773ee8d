from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Manual, Net, data, fit
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from fulmen.core.optimizer import LightningOptimizer
from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException


class Two(Manual):
    """Two layers, each with an optimizer, which share one parameter; what happens is given."""

    def __init__(self, act: Callable[[Two, Tensor], Any]) -> None:
        super().__init__()
        self.other = nn.Linear(2, 1)
        self.shared = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.act = act

    def configure_optimizers(self) -> Any:
        first = SGD([*self.layer.parameters(), self.shared, self.frozen], 0.1)
        return first, SGD([*self.other.parameters(), self.shared], 0.1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.act(self, batch[0])

    def needs(self) -> list[bool]:
        ours = (self.layer.weight, self.other.weight, self.shared, self.frozen)
        return [parameter.requires_grad for parameter in ours]


def in_training(act: Callable[[Any, Tensor], Any], kind: Any = Two, **flags: Any) -> Any:
    """Does something in one training step."""
    return fit(kind(act), data(1), **flags)


class One(Manual):
    def __init__(self, act: Callable[[One, Tensor], Any]) -> None:
        super().__init__()
        self.act = act

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.act(self, batch[0])


def test_optimizers_wrapped_and_raw() -> None:
    def act(module: Any, x: Tensor) -> None:
        wrapped, raw = module.optimizers(), module.optimizers(use_pl_optimizer=False)
        if isinstance(module, One):
            wrapped, raw = [wrapped], [raw]
        assert [type(one) for one in wrapped] == [LightningOptimizer] * len(raw)
        assert [one.optimizer for one in wrapped] == raw == module.trainer.optimizers

    assert len(in_training(act).optimizers) == 2
    assert len(in_training(act, One).optimizers) == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_lr_schedulers(count: int) -> None:
    class Scheduled(Net):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), 0.1)
            self.made = [StepLR(optimizer, 1) for _ in range(count)]
            return [optimizer], self.made

        def on_train_start(self) -> None:
            assert self.lr_schedulers() == (self.made[0] if count == 1 else self.made or None)

    fit(Scheduled())


def test_manual_backward_has_the_hooks_of_backward() -> None:
    calls: list[str] = []

    class Hears(One):
        def on_before_backward(self, loss: Tensor) -> None:
            calls.append(f"before {loss.item():.0f}")

        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            calls.append(f"backward {kwargs}")
            super().backward(loss, *args, **kwargs)

        def on_after_backward(self) -> None:
            calls.append("after" if self.layer.weight.grad is not None else "too early")

    in_training(lambda module, x: module.manual_backward(module.layer.weight.sum() * 0 + 7, retain_graph=True), Hears)
    assert calls == ["before 7", "backward {'retain_graph': True}", "after"]


def test_a_vector_with_a_gradient_of_its_own() -> None:
    def act(module: Any, x: Tensor) -> None:
        module.manual_backward(module(x).squeeze(1), gradient=torch.tensor([1.0, 0.0]))
        assert module.layer.bias.grad.item() == 1.0

    in_training(act, One)


def test_manual_backward_is_for_manual_optimization() -> None:
    with pytest.raises(MisconfigurationException, match="automatic_optimization = False"):
        Net().manual_backward(torch.ones(()))


def test_defaults_act_on_what_they_get() -> None:
    net = Net()
    optimizer = SGD(net.parameters(), 0.1)
    net.backward(net(torch.ones(1, 2)).sum())
    before = net.layer.bias.item()
    net.optimizer_step(0, 0, optimizer)
    assert net.layer.bias.item() == pytest.approx(before - 0.1)
    net.optimizer_zero_grad(0, 0, optimizer)
    assert net.layer.bias.grad is None


def test_schedulers_get_the_metric_where_there_is_one() -> None:
    net = Net()
    optimizer = SGD(net.parameters(), 1.0)
    scheduler = StepLR(optimizer, 1, 0.5)
    optimizer.step()
    net.lr_scheduler_step(scheduler, None)
    assert optimizer.param_groups[0]["lr"] == 0.5
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for _ in range(2):
        net.lr_scheduler_step(plateau, 3.0)
    assert optimizer.param_groups[0]["lr"] == 0.25


@given(st.sampled_from(["norm", "value", None]), st.floats(0.01, 3), st.booleans())
def test_clip_gradients_under_manual_optimization(algorithm: str | None, limit: float, wrapped: bool) -> None:
    def act(module: Any, x: Tensor) -> None:
        gradient = torch.tensor([[3.0, -4.0]])
        module.layer.weight.grad, module.layer.bias.grad = gradient.clone(), None
        module.clip_gradients(module.optimizers(use_pl_optimizer=wrapped), limit, algorithm)
        expected = gradient.clamp(-limit, limit) if algorithm == "value" else gradient * min(1.0, limit / 5)
        torch.testing.assert_close(module.layer.weight.grad, expected)

    in_training(act, One)


@pytest.mark.parametrize(("limit", "same"), [(None, True), (0, True), (-1.0, True), (1.0, False)])
def test_no_limit_clips_nothing(limit: float | None, same: bool) -> None:
    def act(module: Any, x: Tensor) -> None:
        module.layer.weight.grad = torch.full((1, 2), 9.0)
        module.clip_gradients(module.optimizers(), limit)
        assert torch.equal(module.layer.weight.grad, torch.full((1, 2), 9.0)) == same

    in_training(act, One)


def test_the_trainers_flags_are_the_defaults() -> None:
    class Clips(Net):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.layer.weight.grad = torch.full((1, 2), 9.0)

        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            assert (gradient_clip_val, gradient_clip_algorithm) == (0.5, "value")
            self.clip_gradients(optimizer)
            assert torch.equal(self.layer.weight.grad, torch.full((1, 2), 0.5))
            with pytest.raises(MisconfigurationException, match="Remove one of the two"):
                super().configure_gradient_clipping(optimizer, 0.25, "value")

    assert fit(Clips(), gradient_clip_val=0.5, gradient_clip_algorithm="value").global_step == 2


def test_an_unknown_way_to_clip() -> None:
    with pytest.raises(MisconfigurationException, match='gradient_clip_algorithm="norm"'):
        in_training(lambda module, x: module.clip_gradients(module.optimizers(), 1.0, "max"), One)


def test_toggling_leaves_one_optimizers_parameters_on() -> None:
    def act(module: Two, x: Tensor) -> None:
        first, second = module.optimizers()
        before = module.needs()
        module.toggle_optimizer(first)
        assert module.needs() == [True, False, True, False]
        module.untoggle_optimizer(first)
        assert module.needs() == before == [True, True, True, False]
        with pytest.raises(ZeroDivisionError), module.toggled_optimizer(second):
            assert module.needs() == [False, True, True, False]
            1 / 0  # noqa: B018
        assert module.needs() == before

    in_training(act)


class Scaler(torch.amp.GradScaler):
    """A scaler that says what it is asked; the CPU can do without its speed."""

    def __init__(self) -> None:
        super().__init__("cpu", init_scale=4.0)
        self.calls: list[str] = []

    def scale(self, outputs: Any) -> Any:
        self.calls.append("scale")
        return super().scale(outputs)

    def unscale_(self, optimizer: Any) -> None:
        self.calls.append("unscale")
        super().unscale_(optimizer)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append("step")
        return super().step(optimizer, *args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        self.calls.append("update")
        super().update(new_scale)


class Checks(Net):
    """Sees the gradients that hooks and clipping see."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self(batch[0]).float().mean()

    def on_before_backward(self, loss: Tensor) -> None:
        self.losses = [*getattr(self, "losses", []), loss.item()]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        assert self.layer.bias.grad is not None and self.layer.bias.grad.item() == 1.0


class ChecksByHand(Checks):
    """The same under manual optimization."""

    automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


@pytest.mark.parametrize("kind", [Checks, ChecksByHand])
def test_a_scaler_sees_each_step_once(kind: type[Checks]) -> None:
    scaler = Scaler()
    trainer = fit(kind(), data(2), plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert scaler.calls == ["scale", "unscale", "step", "update"] * 2
    assert trainer.global_step == 2
    assert trainer.scaler is scaler


def test_a_scaler_over_a_window_and_with_clipping() -> None:
    scaler = Scaler()
    module = Checks()
    fit(module, data(4), plugins=MixedPrecision("16-mixed", "cpu", scaler), accumulate_grad_batches=2,
        gradient_clip_val=0.1)  # fmt: skip
    assert scaler.calls == ["scale", "scale", "unscale", "step", "update"] * 2


@pytest.mark.parametrize("kind", [Checks, ChecksByHand])
def test_steps_with_infinite_gradients_are_left_out(kind: type[Checks]) -> None:
    class Overflows(kind):  # type: ignore[misc, valid-type]
        def on_after_backward(self) -> None:
            self.layer.weight.grad[0, 0] = float("inf")

    module = Overflows()
    before = module.layer.weight.clone()
    scaler = Scaler()
    fit(module, data(2), plugins=MixedPrecision("16-mixed", "cpu", scaler))
    assert torch.equal(module.layer.weight, before)
    assert scaler.get_scale() == 1.0
