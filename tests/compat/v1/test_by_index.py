"""Several optimizers by number, as in 1.x, equal loops written by hand, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import SOAK
from tests.resume.course import Record, check_every_point, seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import v1
from fulmen.compat.v1.hints import FormerInterfaceWarning
from fulmen.demos.boring_classes import BoringModel
from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def images(count: int = 22) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3, generator=torch.Generator().manual_seed(7)))


class Gan(pl.LightningModule):
    """As the tutorials of 2021 write it."""

    def __init__(self, frequencies: tuple[int, ...] = (), interval: str = "step") -> None:
        super().__init__()
        torch.manual_seed(3)
        self.generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.discriminator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.frequencies, self.interval = frequencies, interval
        self.heard: list[Any] = []

    def loss(self, real: Tensor, optimizer_idx: int) -> Tensor:
        judged = self.discriminator(self.generator(real))
        if optimizer_idx == 0:
            return nn.functional.softplus(-judged).mean()
        return nn.functional.softplus(judged).mean() + nn.functional.softplus(-self.discriminator(real)).mean()

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        self.heard.append(("step", batch_idx, optimizer_idx))
        loss = self.loss(batch[0], optimizer_idx)
        self.log(f"loss_{optimizer_idx}", loss)
        return loss

    def configure_optimizers(self) -> Any:
        g = torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9)
        d = torch.optim.Adam(self.discriminator.parameters(), lr=0.05)
        schedules = [torch.optim.lr_scheduler.ExponentialLR(one, 0.9) for one in (g, d)]
        configs: list[dict[str, Any]] = [
            {"optimizer": one, "lr_scheduler": {"scheduler": schedule, "interval": self.interval, "opt_idx": i}}
            for i, (one, schedule) in enumerate(zip((g, d), schedules, strict=True))
        ]
        for config, frequency in zip(configs, self.frequencies, strict=False):
            config["frequency"] = frequency
        return configs


class ByHand(Gan):
    """Under manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: Any = None) -> None:
        for i, optimizer in enumerate(self.optimizers()):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch[0], i))
            optimizer.step()


def parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def by_hand(
    accumulate: int = 1,
    clip: float | None = None,
    context: Callable[[], Any] = contextlib.nullcontext,
    frequencies: tuple[int, ...] = (),
    scaler: Any = None,
    epochs: int = 2,
    interval: str = "step",
) -> tuple[Gan, int]:
    """The same training, written out."""
    model, steps = Gan(frequencies, interval), 0
    configs = model.configure_optimizers()
    optimizers = [config["optimizer"] for config in configs]
    schedules = [config["lr_scheduler"]["scheduler"] for config in configs]
    cycle = [i for i, count in enumerate(frequencies) for _ in range(count)]
    for _ in range(epochs):
        batches = [batch[0] for batch in DataLoader(images(), 4)]
        for start in range(0, len(batches), accumulate):
            window = batches[start : start + accumulate]
            working = [cycle[start % len(cycle)]] if cycle else [0, 1]
            first = len(window[0])
            for k, real in enumerate(window):
                for i in working:
                    for p in parameters(optimizers[1 - i]):
                        p.requires_grad = False
                    with context():
                        loss = model.loss(real, i)
                    if k == 0:
                        optimizers[i].zero_grad()
                    if accumulate > 1:
                        loss = loss * (1 / accumulate * (len(real) / first))
                    (loss if scaler is None else scaler.scale(loss)).backward()
                    if k + 1 == len(window):
                        if scaler is not None:
                            scaler.unscale_(optimizers[i])
                        factor = accumulate * first / sum(map(len, window)) if accumulate > 1 else 1.0
                        for p in parameters(optimizers[i]):
                            if factor != 1.0:
                                p.grad *= factor
                        if clip:
                            torch.nn.utils.clip_grad_norm_(parameters(optimizers[i]), clip)
                        optimizers[i].step() if scaler is None else scaler.step(optimizers[i])
                        if scaler is not None and accumulate == 1:
                            scaler.update()
                        steps += 1
                    for p in parameters(optimizers[1 - i]):
                        p.requires_grad = True
            if scaler is not None and accumulate > 1:
                scaler.update()
            for i in working if interval == "step" else ():
                schedules[i].step()
        for schedule in schedules if interval == "epoch" else ():
            schedule.step()
    return model, steps


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def half() -> Any:
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_equals_a_loop_by_hand(accumulate: int, clip: float | None, precision: Any) -> None:
    model = Gan()
    trainer = pl.Trainer(
        max_epochs=2, accumulate_grad_batches=accumulate, gradient_clip_val=clip, precision=precision, **QUIET
    )
    trainer.fit(model, DataLoader(images(), 4))
    context: Any = half if precision == "bf16-mixed" else contextlib.nullcontext
    expected, steps = by_hand(accumulate, clip, context)
    assert same(model, expected)
    assert trainer.global_step == steps == 2 * trainer.fit_loop.epoch_loop._batches_that_stepped
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_of_a_window_share_one_scale(accumulate: int) -> None:
    """The scale grows every second update; without accumulation it may do so between two optimizers, as in 1.x."""

    def scaler() -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    model, ours, theirs = Gan(), scaler(), scaler()
    trainer = pl.Trainer(
        max_epochs=2, accumulate_grad_batches=accumulate, plugins=MixedPrecision("16-mixed", "cpu", ours), **QUIET
    )
    trainer.fit(model, DataLoader(images(), 4))

    def context() -> Any:
        return torch.autocast("cpu", torch.float16, cache_enabled=False)

    expected, _ = by_hand(accumulate, None, context, scaler=theirs)
    assert same(model, expected) and ours.get_scale() == theirs.get_scale() > 8


@pytest.mark.parametrize(("frequencies", "accumulate"), [((1, 5), 1), ((2, 1), 1), ((2, 4), 2)])
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_optimizers_take_turns(frequencies: tuple[int, ...], accumulate: int, interval: str) -> None:
    """One batch for the generator, five for the critic (WGAN). Schedulers by steps wait for their turn."""
    model = Gan(frequencies, interval)
    trainer = pl.Trainer(max_epochs=2, accumulate_grad_batches=accumulate, **QUIET)
    trainer.fit(model, DataLoader(images(), 4))
    expected, steps = by_hand(accumulate, frequencies=frequencies, interval=interval)
    assert same(model, expected) and trainer.global_step == steps
    assert trainer.strategy.optimizer_frequencies == list(frequencies)
    cycle = [i for i, count in enumerate(frequencies) for _ in range(count)]
    assert [heard[1:] for heard in model.heard[:6]] == [(b, cycle[b % len(cycle)]) for b in range(6)]


def test_a_window_ends_with_its_turn() -> None:
    """1.x let a window go on with the next optimizer, which lost gradients of the one before."""

    class Steps(Gan):
        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            self.heard.append(("update", optimizer_idx))

    model = Steps((3, 1))
    pl.Trainer(max_epochs=1, limit_train_batches=4, accumulate_grad_batches=2, **QUIET).fit(
        model, DataLoader(images(), 4)
    )
    assert model.heard == [
        ("step", 0, 0), ("step", 1, 0), ("update", 0), ("step", 2, 0), ("update", 0), ("step", 3, 1), ("update", 1),
    ]  # fmt: skip


def test_order_of_events() -> None:
    """1.9: for each optimizer toggle, step, zero_grad, backward, the hook before the update, the update, untoggle."""

    class Told(Gan):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            off = {p.requires_grad for p in (self.discriminator if optimizer_idx == 0 else self.generator).parameters()}
            assert off == {False}
            return super().training_step(batch, batch_idx, optimizer_idx)

        def toggle_optimizer(self, optimizer: Any, optimizer_idx: int) -> None:
            self.heard.append(("toggle", optimizer_idx))
            super().toggle_optimizer(optimizer, optimizer_idx)

        def untoggle_optimizer(self, optimizer_idx: int) -> None:
            super().untoggle_optimizer(optimizer_idx)
            self.heard.append(("untoggle", optimizer_idx))

        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any,
            on_tpu: bool = False, using_lbfgs: bool = False,
        ) -> None:  # fmt: skip
            self.heard.append(("optimizer_step", optimizer_idx))
            super().optimizer_step(
                epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu=on_tpu, using_lbfgs=using_lbfgs
            )

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int) -> None:
            self.heard.append(("zero_grad", optimizer_idx))
            optimizer.zero_grad()

        def backward(self, loss: Any, optimizer: Any, optimizer_idx: int, *args: Any, **kwargs: Any) -> None:
            assert optimizer is self.trainer.optimizers[optimizer_idx]
            self.heard.append(("backward", optimizer_idx))
            super().backward(loss, optimizer, optimizer_idx, *args, **kwargs)

        def configure_gradient_clipping(
            self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            self.heard.append(("clip", optimizer_idx))
            super().configure_gradient_clipping(optimizer, optimizer_idx, gradient_clip_val, gradient_clip_algorithm)

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            self.heard.append(("before", optimizer_idx))

        def lr_scheduler_step(self, scheduler: Any, optimizer_idx: int, metric: Any) -> None:
            self.heard.append(("rate", optimizer_idx))
            super().lr_scheduler_step(scheduler, optimizer_idx, metric)

    class Listens(pl.Callback):
        heard: list[int] = []

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any, opt_idx: int) -> None:
            self.heard.append(opt_idx)

    model, listens = Told(), Listens()
    trainer = pl.Trainer(max_epochs=2, gradient_clip_val=0.1, callbacks=listens, **QUIET)
    trainer.fit(model, DataLoader(images(), 4))
    once = [
        one
        for i in (0, 1)
        for one in [
            ("toggle", i), ("optimizer_step", i), ("step", 0, i), ("zero_grad", i), ("backward", i), ("before", i),
            ("clip", i), ("untoggle", i),
        ]
    ]  # fmt: skip
    assert model.heard[: len(once) + 2] == [*once, ("rate", 0), ("rate", 1)]
    assert listens.heard[:4] == [0, 1, 0, 1]
    assert same(model, by_hand(clip=0.1)[0])


@pytest.mark.parametrize(("dialect", "steps"), [("1.9", 12), ("1.5", 6)])
def test_what_a_step_is(dialect: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1.6 on `global_step` counts each optimizer's steps; up to 1.5 the batches that stepped."""
    monkeypatch.setenv("FULMEN_DIALECT", dialect)
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(Gan(), DataLoader(images(), 4))
    assert trainer.global_step == steps
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(ByHand(), DataLoader(images(), 4))
    assert trainer.global_step == steps
    short = pl.Trainer(max_steps=4, **QUIET)
    short.fit(model := Gan(), DataLoader(images(), 4))
    assert short.global_step == 4 and len(model.heard) == (4 if dialect == "1.9" else 8)


def test_outputs_of_a_batch_and_skipped_steps() -> None:
    class Sometimes(Gan):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx, optimizer_idx)
            return {"loss": loss, "index": optimizer_idx} if batch_idx != optimizer_idx else None

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.heard.append([one["index"] for one in outputs])
            assert not any(one["loss"].requires_grad for one in outputs)

    model = Sometimes()
    with pytest.warns(UserWarning, match="Return the loss to train on it"):
        pl.Trainer(max_epochs=1, limit_train_batches=3, **QUIET).fit(model, DataLoader(images(), 4))
    assert [heard for heard in model.heard if isinstance(heard, list)] == [[1], [0], [0, 1]]


def test_lbfgs_computes_its_loss_again() -> None:
    class Both(Gan):
        def configure_optimizers(self) -> Any:
            return [
                torch.optim.LBFGS(self.generator.parameters(), lr=0.1, max_iter=3),
                torch.optim.SGD(self.discriminator.parameters(), lr=0.1),
            ]

    model = Both()
    pl.Trainer(max_epochs=1, limit_train_batches=3, **QUIET).fit(model, DataLoader(images(), 4))
    hand = Both()
    lbfgs, sgd = hand.configure_optimizers()
    for batch in list(DataLoader(images(), 4))[:3]:

        def closure(real: Tensor = batch[0]) -> Tensor:
            loss = hand.loss(real, 0)
            lbfgs.zero_grad()
            loss.backward()
            return loss

        lbfgs.step(closure)
        loss = hand.loss(batch[0], 1)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    assert same(model, hand)


class Endless:
    """A loader that promises more than it gives."""

    def __iter__(self) -> Iterator[Any]:
        return iter(list(DataLoader(images(20), 4)))

    def __len__(self) -> int:
        return 6


@pytest.mark.filterwarnings("ignore:.*has a length of 6 and gave 5.*")
def test_windows_left_open_are_stepped_on() -> None:
    """Nobody knew of the last batch: both losses are there before either optimizer steps."""
    model, known, shorter = Gan(), Gan(), Gan()
    trainer = pl.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET)
    trainer.fit(model, Endless())
    pl.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET).fit(known, DataLoader(images(20), 4))
    pl.Trainer(max_epochs=1, accumulate_grad_batches=2, **QUIET).fit(shorter, DataLoader(images(16), 4))
    assert same(model.generator, known.generator) and trainer.global_step == 6
    assert not same(model.discriminator, shorter.discriminator)


@pytest.mark.parametrize(("frequencies", "accumulate"), [((), 1), ((), 3), ((3, 1), 2)])
def test_resumes_from_every_point(frequencies: tuple[int, ...], accumulate: int, tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(
            max_epochs=2, callbacks=callbacks, accumulate_grad_batches=accumulate, log_every_n_steps=1,
            **{**QUIET, "logger": record.logger},
        )  # fmt: skip
        trainer.fit(Gan(frequencies), DataLoader(images(), 4, shuffle=True), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, lambda points: points if SOAK else points[1::3], lambda *_: None)


def run(**members: Any) -> None:
    pl.Trainer(max_epochs=1, **QUIET).fit(type("Wrong", (Gan,), members)(), DataLoader(images(), 4))


def test_mistakes() -> None:
    def modern(self: Gan, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch[0], 0)

    with pytest.raises(RuntimeError, match="write `def training_step"):
        run(training_step=modern)

    class Boring(BoringModel):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1)] * 2

    v1.speak()
    with pytest.raises(RuntimeError, match="Return them by name"):
        pl.Trainer(max_epochs=1, **QUIET).fit(Boring())

    def half_of_them(self: Gan) -> Any:
        first, second = Gan.configure_optimizers(self)
        return [{**first, "frequency": 2}, second]

    with pytest.raises(ValueError, match='"frequency": 5'):
        run(configure_optimizers=half_of_them)

    def other_index(self: Gan) -> Any:
        configs = Gan.configure_optimizers(self)
        configs[0]["lr_scheduler"]["opt_idx"] = 1
        return configs

    with pytest.raises(MisconfigurationException, match='Leave `"opt_idx"` out'):
        run(configure_optimizers=other_index)


def test_numbers_of_lists_and_of_one() -> None:
    """Two lists are read as well; a step with `optimizer_idx` may have one optimizer, and any name for it."""

    class Lists(Gan):
        def training_step(self, batch: Any, batch_nb: int, opt: int) -> Any:
            return super().training_step(batch, batch_nb, opt)

        def configure_optimizers(self) -> Any:
            configs = super().configure_optimizers()
            return [one["optimizer"] for one in configs], [one["lr_scheduler"] for one in configs]

    model = Lists()
    pl.Trainer(max_epochs=2, **QUIET).fit(model, DataLoader(images(), 4))
    assert same(model, by_hand()[0])

    class One(Gan):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.generator.parameters(), 0.1)

    one = One()
    pl.Trainer(max_epochs=1, limit_train_batches=2, **QUIET).fit(one, DataLoader(images(), 4))
    assert one.heard == [("step", 0, 0), ("step", 1, 0)]


def test_each_feature_says_once_what_to_write() -> None:
    class Old(Gan):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs):
            optimizer.step(closure=optimizer_closure)

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None: ...

        def configure_gradient_clipping(
            self, optimizer: Any, optimizer_idx: int, value: Any, algorithm: Any
        ) -> None: ...

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            pl.Trainer(max_epochs=1, limit_train_batches=1, **QUIET).fit(Old((1, 1)), DataLoader(images(), 4))
    texts = [str(one.message) for one in said if issubclass(one.category, FormerInterfaceWarning)]
    assert [text.partition(" is of")[0] for text in texts] == [
        "`training_step` with `optimizer_idx`", "`optimizer_step` with `optimizer_idx`",
        "`on_before_optimizer_step` with `optimizer_idx`", "`configure_gradient_clipping` with `optimizer_idx`",
        '`"frequency"` of an optimizer',
    ]  # fmt: skip
    assert all("Today: " in text for text in texts)


def test_copies_and_further_runs() -> None:
    """A run leaves nothing in the module that a copy, a pickle or another run could stumble over."""
    model = Gan()
    pl.Trainer(max_epochs=1, **QUIET).fit(model, DataLoader(images(), 4))
    twin = copy.deepcopy(model)
    for one in (model, twin):
        pl.Trainer(max_epochs=1, **QUIET).fit(one, DataLoader(images(), 4))
    assert same(model, twin) and len(twin.heard) == len(model.heard) == 24
    pl.Trainer(max_epochs=1, **QUIET).validate(type("Validates", (Gan,), {"validation_step": lambda *_: None})(), [1])


def test_who_is_taken_for_old() -> None:
    """By names and by the keys of what a step returns; modern modules are not."""

    class Returns(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": batch, "log": {"a": 1}}

    class Modern(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("loss", 1.0)
            return {"loss": batch, "other": 1}

        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None: ...

    assert v1.is_old(Returns) and v1.is_old(Gan) and not v1.is_old(Modern)
