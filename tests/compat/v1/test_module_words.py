"""What a module of 1.x says: names that today's class lacks, and methods that take more."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from tests.resume.course import MemoryLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.callbacks.progress.progress_bar import ProgressBar
from fulmen.compat import v1
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.core.module import overridden
from fulmen.core.optimization import OptimizationMixin
from fulmen.core.optimizer import LightningOptimizer
from fulmen.profilers.simple import SimpleProfiler
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def data(count: int = 24) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(count, 2, generator=torch.Generator().manual_seed(1))), 4)


class Model(pl.LightningModule):
    """Nothing in it is of 1.x."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)
        self.heard: list[Any] = []

    def loss(self, batch: Any) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(model: pl.LightningModule, **flags: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1, **flags})
    trainer.fit(model, data())
    return trainer


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# The forms in which `optimizer_step` was overridden, from 1.0 to 1.9.


def closure_by_name(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu, using_native_amp,
                    using_lbfgs):  # fmt: skip
    assert (optimizer_idx, on_tpu, using_native_amp, using_lbfgs) == (0, False, False, False)
    optimizer.step(closure=optimizer_closure)


def closure_by_place(self, epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
    optimizer.step(second_order_closure)


def no_closure(self, current_epoch, batch_nb, optimizer, optimizer_idx, second_order_closure=None, on_tpu=False,
               using_native_amp=False, using_lbfgs=False):  # fmt: skip
    optimizer.step()
    optimizer.zero_grad()


def closure_before(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs):
    assert kwargs == {"on_tpu": False, "using_lbfgs": False}
    optimizer_closure()
    optimizer.step()


def inner_optimizer(self, epoch, batch_idx, optimizer, optimizer_idx=0, optimizer_closure=None, on_tpu=False,
                    using_lbfgs=False):  # fmt: skip
    assert optimizer.optimizer is self.trainer.optimizers[0] and isinstance(optimizer, torch.optim.SGD)
    with optimizer.toggle_model(sync_grad=True):
        optimizer.step(closure=optimizer_closure)


def by_super_in_places(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu, using_native_amp,
                       using_lbfgs):  # fmt: skip
    pl.LightningModule.optimizer_step(
        self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu, using_native_amp, using_lbfgs
    )


def by_super_with_names(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs):
    pl.LightningModule.optimizer_step(
        self, epoch=epoch, batch_idx=batch_idx, optimizer=optimizer, optimizer_idx=optimizer_idx,
        optimizer_closure=optimizer_closure, **kwargs,
    )  # fmt: skip


def of_today(self, epoch, batch_idx, optimizer, optimizer_closure):
    v1.speak()
    pl.LightningModule.optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure)


FORMS = [
    closure_by_name, closure_by_place, no_closure, closure_before, inner_optimizer, by_super_in_places,
    by_super_with_names, of_today,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("flags", [{}, {"gradient_clip_val": 0.05, "accumulate_grad_batches": 2}], ids=["", "clipped"])
def test_forms_of_optimizer_step(form: Callable[..., Any], flags: dict[str, Any]) -> None:
    model, plain = type("Old", (Model,), {"optimizer_step": form})(), Model()
    trainer = fit(model, **flags)
    assert fit(plain, **flags).global_step == trainer.global_step and same(model, plain)


def test_warm_up() -> None:
    """The recipe of the 1.x documentation."""

    class Warm(Model):
        def optimizer_step(self, current_epoch: Any, batch_nb: Any, optimizer: Any, optimizer_idx: Any,
                           closure: Any, on_tpu: Any = False, using_native_amp: Any = False,
                           using_lbfgs: Any = False) -> None:  # fmt: skip
            if self.trainer.global_step < 4:
                lr_scale = min(1.0, float(self.trainer.global_step + 1) / 4.0)
                for pg in optimizer.param_groups:
                    pg["lr"] = lr_scale * 0.1
            optimizer.step(closure=closure)

    model, hand = Warm(), Model()
    fit(model)
    optimizer = hand.configure_optimizers()
    for step, batch in enumerate(data()):
        optimizer.param_groups[0]["lr"] = min(1.0, float(step + 1) / 4.0) * 0.1
        optimizer.zero_grad()
        hand.loss(batch).backward()
        optimizer.step()
    assert same(model, hand)


def test_alternating_steps() -> None:
    """The recipe for GANs of 1.0 to 1.4: where the optimizer does not step, nothing is computed for it."""

    class Alternates(Model):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            self.heard.append((batch_idx, optimizer_idx))
            return (self.layer, self.other)[optimizer_idx](batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(one.parameters(), lr=0.1) for one in (self.layer, self.other)]

        def optimizer_step(self, epoch: Any, batch_idx: Any, optimizer: Any, optimizer_idx: Any,
                           optimizer_closure: Any, on_tpu: Any, using_native_amp: Any, using_lbfgs: Any):  # fmt: skip
            if optimizer_idx == 0 or batch_idx % 4 == 0:
                optimizer.step(closure=optimizer_closure)
                optimizer.zero_grad()

    model = Alternates()
    with pytest.warns(UserWarning, match="Call `optimizer_closure"):
        fit(model)
    assert model.heard == [(b, i) for b in range(6) for i in (0, 1) if i == 0 or b % 4 == 0]


def test_manual_optimization() -> None:
    class Manual(Model):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: Any) -> Any:
            optimizer = self.optimizers(use_pl_optimizer=True)
            assert optimizer_idx is None and type(optimizer) is LightningOptimizer
            self.toggle_optimizer(optimizer, optimizer_idx=0)
            loss = self.loss(batch)
            if batch_idx % 2:
                self.manual_backward(loss, optimizer)
            else:
                self.manual_backward(loss, optimizer=optimizer, retain_graph=True)
            self.untoggle_optimizer(optimizer_idx=0)
            optimizer.step()
            optimizer.zero_grad()

    model, plain = Manual(), Model()
    fit(model)
    fit(plain)
    assert same(model, plain)


def test_methods_take_the_arguments_of_then_and_of_today() -> None:
    """Each as 1.x called it on `super()`, and as it is called today."""
    model = Model()
    trainer = fit(model)
    optimizer = trainer.optimizers[0]
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    plain = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def clipped(*args: Any, **kwargs: Any) -> float:
        (parameter,) = [model.layer.weight]
        parameter.grad = torch.full_like(parameter, 100.0)
        model.configure_gradient_clipping(*args, **kwargs)
        return round(float(parameter.grad.norm()), 4)

    def gradient(*args: Any, **kwargs: Any) -> Tensor:
        model.zero_grad()
        model.backward(model.loss([torch.ones(4, 2)]), *args, **kwargs)
        return model.layer.weight.grad.clone()

    expected = gradient()
    v1.speak()
    model.layer.bias.grad = None
    for args, kwargs in (
        ((), {}), ((optimizer, 0), {}), ((None, None), {}), ((), {"optimizer": optimizer, "optimizer_idx": 0}),
        ((), {"retain_graph": True}), ((None,), {"retain_graph": True}),
    ):  # fmt: skip
        assert torch.equal(gradient(*args, **kwargs), expected), (args, kwargs)
    model.layer.bias.grad = None
    for args, kwargs in (
        ((optimizer, 0.5), {}), ((optimizer, 1, 0.5, "norm"), {}), ((optimizer, 0.5, "norm"), {}), ((optimizer,), {
            "gradient_clip_val": 0.5}), ((optimizer, 0), {"gradient_clip_val": 0.5}), ((optimizer, 0, 0.5), {}),
        ((optimizer,), {"optimizer_idx": 0, "gradient_clip_val": 0.5, "gradient_clip_algorithm": "norm"}),
    ):  # fmt: skip
        assert clipped(*args, **kwargs) == 0.5, (args, kwargs)
    for args, kwargs in (
        ((schedule, 0, 3.0), {}), ((schedule, 3.0), {}), ((schedule, 0), {"metric": 3.0}), ((schedule,), {
            "optimizer_idx": 0, "metric": 3.0}), ((schedule, 3.0), {"optimizer_idx": 0}),
    ):  # fmt: skip
        before = schedule.last_epoch
        model.lr_scheduler_step(*args, **kwargs)
        assert schedule.last_epoch == before + 1 and schedule.best == 3.0, (args, kwargs)
    optimizer.step()
    for args, kwargs in (((plain, 0, None), {}), ((plain, None), {}), ((plain, 1), {"metric": None})):
        before = plain.last_epoch
        model.lr_scheduler_step(*args, **kwargs)
        assert plain.last_epoch == before + 1
    with pytest.raises(MisconfigurationException, match=r"super.*lr_scheduler_step"):
        model.lr_scheduler_step(plain, epoch=1)
    for args in ((0, 0, optimizer), (0, 0, optimizer, 0)):
        gradient()
        model.optimizer_zero_grad(*args)
        assert model.layer.weight.grad is None
    for args in ((optimizer,), (0,)):
        model.toggle_optimizer(optimizer, 0)
        model.untoggle_optimizer(*args)
        assert model.layer.weight.requires_grad


def test_arguments_of_log() -> None:
    class Logs(Model):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int = 0) -> Any:
            loss = self.loss(batch)
            self.log("a", batch_idx, True, True, False, True, "default", tbptt_pad_token=0, sync_dist_op="mean",
                     rank_zero_only=None)  # fmt: skip
            self.log_dict({"b": batch_idx}, logger=True, on_epoch=True, reduce_fx="default", tbptt_reduce_fx=torch.mean,
                          sync_dist_op="sum")  # fmt: skip
            self.log_grad_norm({"norm": 2.0})
            return loss

    with pytest.warns(FormerInterfaceWarning, match="tbptt_reduce_fx"):
        trainer = fit(Logs())
    assert trainer.callback_metrics["a"] == 2.5 and trainer.callback_metrics["b_epoch"] == 2.5
    assert trainer.callback_metrics["norm_epoch"] == 2
    model = Logs()
    with pytest.warns(UserWarning, match="Call it from a hook"):
        model.log("a", 1)
    with pytest.raises(MisconfigurationException, match=r"self.log_dict"):
        model.log_dict(1.0)


def test_returned_values_are_logged() -> None:
    """1.0: `log` for loggers, `progress_bar` for the bar, both for callbacks."""

    class Returns(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            return {"loss": loss, "log": {"l": loss, "both": 1.0}, "progress_bar": {"p": batch_idx, "both": 1.0}}

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"val_loss": 1.0, "log": {"v": float(batch_idx)}}

    logger = MemoryLogger()
    trainer = pl.Trainer(**{**QUIET, "logger": logger, "log_every_n_steps": 1, "max_epochs": 1})
    with pytest.warns(FormerInterfaceWarning, match=r"self.log"):
        trainer.fit(model := Returns(), data(), data())
    assert set(trainer.progress_bar_metrics) == {"p", "both"}
    assert trainer.progress_bar_metrics["p"] == 5 and trainer.callback_metrics["v"] == 2.5
    assert {"l", "both", "p"} <= set(trainer.callback_metrics)
    assert {key for _, values in logger.values for key in values} - {"epoch"} == {"l", "both", "v"}
    plain = Model()
    fit(plain)
    assert same(model, plain)


def test_values_of_another_kind_are_left_alone() -> None:
    class Says(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss(batch), "log": "text", "progress_bar": {"list": [1, 2]}}

    assert not fit(Says()).callback_metrics


def test_the_bar_shows_the_modules_items() -> None:
    seen: list[Any] = []

    class Bar(ProgressBar):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(self.get_metrics(trainer, pl_module))

    class Shows(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("logged", batch_idx, prog_bar=True)
            return self.loss(batch)

        def get_progress_bar_dict(self) -> dict[str, Any]:
            items: dict[str, Any] = super().get_progress_bar_dict()
            assert items.pop("v_num") == 0
            return {**items, "mine": self.global_step}

    bar = Bar()
    trainer = pl.Trainer(
        **{**QUIET, "logger": MemoryLogger(), "max_epochs": 1, "enable_progress_bar": True}, callbacks=bar
    )
    trainer.fit(Shows(), data())
    assert seen[2] == {"mine": 3, "logged": 2.0}
    pl.Trainer(**{**QUIET, "max_epochs": 1, "enable_progress_bar": True}, callbacks=bar).fit(Model(), data())
    assert seen[-1] == {}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated.*")
def test_names() -> None:
    v1.speak()
    model: Any = Model()
    assert model.truncated_bptt_steps == 0 and model.loaded_optimizer_states_dict == {}
    model.loaded_optimizer_states_dict = {0: 1}
    model.truncated_bptt_steps = 2
    assert model.truncated_bptt_steps == 2 and model.loaded_optimizer_states_dict == {0: 1}
    assert 0 < model.model_size < 0.1 and model.get_progress_bar_dict() == {}
    assert "Linear" in str(model.summarize()) and model.summarize(None) is None
    assert model.summarize("full")._max_depth == -1 and model.summarize("top", max_depth=2)._max_depth == 2
    with pytest.raises(MisconfigurationException, match="max_depth=2"):
        model.summarize("all")
    trainer = fit(model := Model())
    trainer.callback_metrics["a"] = torch.tensor(2.0)
    between: queue.Queue[Any] = queue.Queue()
    model.add_to_queue(between)
    trainer.callback_metrics["a"] = torch.tensor(0.0)
    model.get_from_queue(between)
    assert trainer.callback_metrics["a"] == 2
    compiled = torch.compile(Model(), backend="eager")
    module: Any = pl.LightningModule.from_compiled(compiled)
    assert isinstance(module, Model) and pl.LightningModule.to_uncompiled(module) is module

    class Scripted(pl.LightningModule):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    assert isinstance(Scripted().to_torchscript(), torch.jit.ScriptModule)


def test_names_of_a_modules_own_come_first() -> None:
    """Modern code goes on working: attributes, layers, parameters and methods of the same names."""
    v1.speak()

    class Modern(Model):
        model_size: int

        def __init__(self) -> None:
            super().__init__()
            self.model_size = 3
            self.summarize = nn.Linear(2, 2)
            self.add_to_queue = nn.Parameter(torch.ones(1))
            self.register_buffer("log_grad_norm", torch.zeros(1))

        def tbptt_split_batch(self) -> str:
            return "mine"

        @property
        def truncated_bptt_steps(self) -> str:
            return "none"

    model: Any = Modern()
    assert model.model_size == 3 and isinstance(model.summarize, nn.Linear) and model.tbptt_split_batch() == "mine"
    assert torch.equal(model.add_to_queue, torch.ones(1)) and torch.equal(model.log_grad_norm, torch.zeros(1))
    assert model.truncated_bptt_steps == "none"


def _calls(run: Callable[[], Any]) -> int:
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def test_modern_code_costs_the_same_when_1x_is_spoken() -> None:
    class Logs(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, prog_bar=True)
            return loss

    def a_step() -> float:
        def run(steps: int) -> int:
            trainer = pl.Trainer(**QUIET, max_steps=steps)
            loader = DataLoader(TensorDataset(torch.ones(steps, 2)))
            return _calls(lambda: trainer.fit(Logs(), loader))

        run(5)
        return (run(60) - run(10)) / 50

    before = a_step()
    v1.speak()
    assert a_step() == pytest.approx(before, abs=0.5)
    model = Model()
    fit(model)
    for name in ("optimizer_step", "optimizer_zero_grad", "backward", "configure_gradient_clipping"):
        assert overridden(model, name, OptimizationMixin) is None


def test_profilers_watch_what_stands_in() -> None:
    class Old(Model):
        def backward(self, loss: Any, optimizer: Any, optimizer_idx: Any, *args: Any, **kwargs: Any) -> None:
            self.heard.append(optimizer_idx)
            loss.backward(*args, **kwargs)

    model = Old()
    profiler = SimpleProfiler()
    fit(model, profiler=profiler)
    assert model.heard == [0] * 6 == [0] * len(profiler.recorded_durations["[LightningModule]Old.backward"])


def test_auto_move_data_moves_arguments_to_the_modules_device() -> None:
    from fulmen.compat.v1.decorators import auto_move_data

    class Old(pl.LightningModule):
        @auto_move_data
        def forward(self, x: Any, *, more: Any) -> Any:
            """Says where they are."""
            return x["a"].device, more.device

    model = Old().to("meta")
    assert model({"a": torch.zeros(1)}, more=torch.ones(1)) == (
        torch.device("meta"), torch.device("meta"),
    )  # fmt: skip
    assert Old.forward.__doc__ == "Says where they are."
