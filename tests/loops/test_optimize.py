from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import Manual, Net, data, fit
from torch import Tensor
from torch.optim import LBFGS, SGD
from torch.utils.data import DataLoader, IterableDataset

from fulmen.precision.precision import Precision
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities.exceptions import MisconfigurationException

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


class Told(Precision):
    """Written for Lightning, which always has a closure."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
        self.heard.append("before")
        self.heard.append(closure())
        return optimizer.step(**kwargs)


class ToldBySuper(Told):
    def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
        self.heard.append("before")
        return Precision.optimizer_step(self, optimizer, model=model, closure=closure, **kwargs)


class ToldStrategy(SingleDeviceStrategy):
    """The same as a strategy, which is given no model."""

    def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **kwargs: Any) -> Any:
        assert model is None
        return super().optimizer_step(optimizer, closure, model, **kwargs)


class TwoNames(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"a": self(batch[0]).mean(), "b": self.other(batch[0]).mean()}

    def configure_optimizers(self) -> Any:
        return {"a": SGD(self.layer.parameters(), 0.1), "b": SGD(self.other.parameters(), 0.1)}


class Cut(IterableDataset[Tensor]):
    """Says that it has four batches, and has three: the last window ends sooner than planned."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        return iter([[torch.ones(2, 2)] for _ in range(3)])


SHORT = pytest.mark.filterwarnings("ignore:The training loader has a length of 4 and gave 3 batches")
STRANGERS: list[Any] = [
    lambda: {"plugins": Told()},
    lambda: {"plugins": ToldBySuper()},
    lambda: {"strategy": ToldStrategy("cpu")},
    lambda: {"strategy": ToldStrategy("cpu", precision_plugin=Told())},
]


@SHORT
@pytest.mark.parametrize("kind", [Net, ByHook, TwoNames])
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("window", [1, 2])
def test_overrides_of_others_are_always_handed_a_closure(kind: type[Net], stranger: Any, window: int) -> None:
    torch.manual_seed(0)
    plain, other = kind(), kind()
    other.load_state_dict(plain.state_dict())
    loader: Any = DataLoader(Cut(), batch_size=None)
    steps = [
        fit(module, loader, accumulate_grad_batches=window, **flags).global_step
        for module, flags in ((plain, {}), (other, stranger()))
    ]
    assert steps[0] == steps[1] == (3 if window == 1 else 2)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@SHORT
@pytest.mark.parametrize("window", [1, 2])
def test_the_closure_of_others_computes_the_loss_when_it_is_called(window: int) -> None:
    precision = Told()

    class Notes(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            precision.heard.append("training_step")
            return super().training_step(batch, batch_idx)

    fit(Notes(), DataLoader(Cut(), batch_size=None), plugins=precision, accumulate_grad_batches=window)
    kinds = [one if isinstance(one, str) else "loss" for one in precision.heard]
    if window == 1:
        assert kinds == ["before", "training_step", "loss"] * 3
    else:  # the window's last batch turns out to have been the last only afterwards
        assert kinds == ["training_step", "before", "training_step", "loss", "training_step", "before", "loss"]
    assert all(torch.is_tensor(one) for one, kind in zip(precision.heard, kinds, strict=True) if kind == "loss")


def test_others_may_compute_twice_in_a_window() -> None:
    class Twice(Precision):
        def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
            closure()
            return super().optimizer_step(optimizer, model, closure, **kwargs)

    torch.manual_seed(0)
    plain, other = Net(), Net()
    other.load_state_dict(plain.state_dict())
    for module, flags in ((plain, {}), (other, {"plugins": Twice()})):
        fit(module, data(4), accumulate_grad_batches=2, **flags)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("stranger", [Precision, SingleDeviceStrategy])
def test_who_forgets_the_closure_is_named(stranger: Any) -> None:
    forgets = type("Forgets", (stranger,), {"optimizer_step": lambda self, *args, **kwargs: None})
    part = forgets() if stranger is Precision else forgets("cpu")
    with pytest.raises(MisconfigurationException, match=r"`optimizer_step` of `Forgets`(.|\n)*Hand it on"):
        fit(Net(), **{"plugins" if stranger is Precision else "strategy": part})


@SHORT
def test_an_overridden_optimizer_step_has_the_last_window_too() -> None:
    """Where its end was not known, it is stepped all the same, by the same hook."""
    calls: list[int] = []

    class Counts(Net):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            calls.append(batch_idx)
            optimizer.step(closure=optimizer_closure)

    assert fit(Counts(), DataLoader(Cut(), batch_size=None), accumulate_grad_batches=2).global_step == 2
    assert calls == [1, 2]
