"""Several optimizers with names equal loops written by hand, bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.resume.course import Record, check_every_point, seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.precision.amp import MixedPrecision
from fulmen.utilities.exceptions import MisconfigurationException

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def images(count: int = 22) -> TensorDataset:
    return TensorDataset(torch.randn(count, 3, generator=torch.Generator().manual_seed(7)))


class Pair(pl.LightningModule):
    """A generator and a discriminator, with a loss for each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.discriminator = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.heard: list[str] = []

    def losses(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        judged = self.discriminator(made)
        return {
            "d": nn.functional.softplus(judged).mean() + nn.functional.softplus(-self.discriminator(real)).mean(),
            "g": nn.functional.softplus(-judged).mean(),
        }

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.heard.append("step")
        losses = self.losses(batch[0], self.generator(batch[0]))
        self.log_dict({f"loss_{name}": loss for name, loss in losses.items()})
        return losses

    def configure_optimizers(self) -> Any:
        discriminator = torch.optim.Adam(self.discriminator.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ExponentialLR(discriminator, 0.9)
        return {
            "d": {"optimizer": discriminator, "lr_scheduler": {"scheduler": schedule, "interval": "step"}},
            "g": torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9),
        }

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.heard.append(type(optimizer).__name__)


class InTurn(Pair):
    """The generator's loss is computed with the discriminator's new weights."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.heard.append("step")
        loss = self.losses(batch[0], self.generator(batch[0]))["d"]
        self.log("loss_d", loss)
        yield "d", loss
        loss = self.losses(batch[0], self.generator(batch[0]))["g"]
        self.log("loss_g", loss)
        yield "g", loss


def parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def by_hand(
    kind: type[Pair], epochs: int, accumulate: int, clip: float | None, context: Callable[[], Any], scaler: Any = None
) -> tuple[Pair, int]:
    """The same training, written out."""
    model, steps = kind(), 0
    configured = model.configure_optimizers()
    optimizers = {"d": configured["d"]["optimizer"], "g": configured["g"]}
    schedule = configured["d"]["lr_scheduler"]["scheduler"]

    def learn(loss: Tensor, name: str, share: float, keep: bool) -> None:
        loss = loss * share if share != 1 else loss
        (loss if scaler is None else scaler.scale(loss)).backward(
            inputs=parameters(optimizers[name]), retain_graph=keep
        )

    def update(name: str, factor: float) -> None:
        optimizer = optimizers[name]
        if scaler is not None:
            scaler.unscale_(optimizer)
        for parameter in parameters(optimizer):
            if factor != 1:
                parameter.grad *= factor
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters(optimizer), clip)
        optimizer.step() if scaler is None else scaler.step(optimizer)

    for _ in range(epochs):
        batches = list(DataLoader(images(), 4))
        for start in range(0, len(batches), accumulate):
            window = [batch[0] for batch in batches[start : start + accumulate]]
            # As the framework rounds: by the planned number first, relative to the first batch; then the correction.
            first = len(window[0])
            factor = accumulate * first / sum(map(len, window)) if accumulate > 1 else 1.0
            for optimizer in optimizers.values():
                optimizer.zero_grad()
            for i, real in enumerate(window):
                closing = i + 1 == len(window)
                share = 1 / accumulate * (len(real) / first) if accumulate > 1 else 1.0
                with context():
                    losses = model.losses(real, model.generator(real))
                if kind is InTurn:
                    learn(losses["d"], "d", share, keep=False)
                    if closing:
                        update("d", factor)
                        if scaler is not None:
                            scaler.update()
                    with context():
                        losses = model.losses(real, model.generator(real))
                    learn(losses["g"], "g", share, keep=False)
                    if closing:
                        update("g", factor)
                        if scaler is not None:
                            scaler.update()
                else:
                    learn(losses["d"], "d", share, keep=True)
                    learn(losses["g"], "g", share, keep=False)
                    if closing:
                        update("d", factor)
                        update("g", factor)
                        if scaler is not None:
                            scaler.update()
            schedule.step()
            steps += 1
    return model, steps


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", [Pair, InTurn])
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_equals_a_loop_by_hand(kind: type[Pair], accumulate: int, clip: float | None, precision: str) -> None:
    model = kind()
    trainer = pl.Trainer(
        max_epochs=2, accumulate_grad_batches=accumulate, gradient_clip_val=clip, precision=precision, **QUIET
    )
    trainer.fit(model, DataLoader(images(), 4))
    if precision == "bf16-mixed":
        context: Any = lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False)  # noqa: E731
    else:
        context = contextlib.nullcontext
    if precision == "64-true":
        model = model.float()  # compared after rounding: the loop by hand is in single precision
    expected, steps = by_hand(kind, 2, accumulate, clip, context)
    if precision == "64-true":
        for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    else:
        assert same(model, expected)
    assert trainer.global_step == steps == trainer.fit_loop.epoch_loop._batches_that_stepped


@pytest.mark.parametrize("kind", [Pair, InTurn])
def test_losses_of_one_forward_share_one_scale(kind: type[Pair]) -> None:
    """The scale grows every second update: an optimizer that is unscaled by another would be off by a factor."""

    def scaler() -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)

    model, ours = kind(), scaler()
    trainer = pl.Trainer(max_epochs=2, plugins=MixedPrecision("16-mixed", "cpu", ours), **QUIET)
    trainer.fit(model, DataLoader(images(), 4))
    theirs = scaler()
    expected, _ = by_hand(
        kind, 2, 1, None, lambda: torch.autocast("cpu", torch.float16, cache_enabled=False), scaler=theirs
    )
    assert same(model, expected)
    assert ours.get_scale() == theirs.get_scale() > 8


@pytest.mark.parametrize(("kind", "events"), [(Pair, ["step", "Adam", "SGD"]), (InTurn, ["step", "Adam", "SGD"])])
def test_each_steps_once_a_window(kind: type[Pair], events: list[str]) -> None:
    model = kind()
    pl.Trainer(max_epochs=1, limit_train_batches=1, **QUIET).fit(model, DataLoader(images(), 4))
    assert model.heard == events


def test_an_optimizer_without_a_loss_does_not_step() -> None:
    class Sometimes(Pair):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            losses = super().training_step(batch, batch_idx)
            return (
                losses if batch_idx % 3 == 2 else {"d": losses["d"], "g": None} if batch_idx % 3 else {"d": losses["d"]}
            )

    model = Sometimes()
    before = [p.clone() for p in model.generator.parameters()]
    pl.Trainer(max_epochs=1, limit_train_batches=2, **QUIET).fit(model, DataLoader(images(), 4))
    assert all(torch.equal(a, b) for a, b in zip(before, model.generator.parameters(), strict=True))
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, DataLoader(images(), 4))
    assert model.heard.count("SGD") == 2 and model.heard.count("Adam") == 8
    assert trainer.global_step == 6


def test_a_step_may_skip_its_batch() -> None:
    class Skips(Pair):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    model = Skips()
    with pytest.warns(UserWarning, match="Return the losses to train on it"):
        pl.Trainer(max_epochs=1, **QUIET).fit(model, DataLoader(images(), 4))
    assert model.heard.count("Adam") == 5


def test_a_loss_may_say_what_it_weighs() -> None:
    class Weighs(Pair):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            losses = super().training_step(batch, batch_idx)
            return {name: {"loss": loss, "loss_weight": len(batch[0])} for name, loss in losses.items()}

    told, read = Weighs(), Pair()
    for model in (told, read):
        pl.Trainer(max_epochs=2, accumulate_grad_batches=4, **QUIET).fit(model, DataLoader(images(), 4))
    assert same(told, read)


def test_callbacks_see_the_losses_and_hooks_may_be_overridden() -> None:
    class Own(Pair):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            self.heard.append("own")
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            self.heard.append("zero")
            optimizer.zero_grad()

    class Listens(pl.Callback):
        outputs: Any = None

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.outputs = outputs

    own, plain, listens = Own(), Pair(), Listens()
    pl.Trainer(max_epochs=2, callbacks=listens, **QUIET).fit(own, DataLoader(images(), 4))
    pl.Trainer(max_epochs=2, **QUIET).fit(plain, DataLoader(images(), 4))
    assert same(own, plain)
    assert own.heard[:6] == ["step", "zero", "zero", "own", "Adam", "own"]
    assert {name: loss.requires_grad for name, loss in listens.outputs.items()} == {"d": False, "g": False}


@pytest.mark.parametrize("kind", [Pair, InTurn])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_resumes_from_every_point(kind: type[Pair], accumulate: int, tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(
            max_epochs=2, callbacks=callbacks, accumulate_grad_batches=accumulate, log_every_n_steps=1,
            **{**QUIET, "logger": record.logger},
        )  # fmt: skip
        trainer.fit(kind(), DataLoader(images(), 4, shuffle=True), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, lambda points: points, lambda *_: None)


def run(step: Callable[..., Any], configure: Callable[[Pair], Any] | None = None) -> None:
    members: dict[str, Any] = {"training_step": step}
    if configure is not None:
        members["configure_optimizers"] = configure
    pl.Trainer(max_epochs=1, **QUIET).fit(type("Wrong", (Pair,), members)(), DataLoader(images(), 4))


def test_mistakes() -> None:
    def other_key(self: Pair, batch: Any, batch_idx: int) -> Any:
        return {"loss": next(self.parameters()).sum()}

    def a_tensor(self: Pair, batch: Any, batch_idx: int) -> Any:
        return next(self.parameters()).sum()

    def a_number(self: Pair, batch: Any, batch_idx: int) -> Any:
        return {"d": 1.0}

    def not_a_pair(self: Pair, batch: Any, batch_idx: int) -> Any:
        yield next(self.parameters()).sum()

    def twice(self: Pair, batch: Any, batch_idx: int) -> Any:
        for _ in range(2):
            yield "d", next(self.discriminator.parameters()).sum()

    for step in (other_key, a_tensor, a_number, not_a_pair, twice):
        with pytest.raises(MisconfigurationException, match=r'return \{"d": loss_0, "g": loss_1\}'):
            run(step)

    def shared(self: Pair) -> Any:
        both = list(self.parameters())
        return {"d": torch.optim.SGD(both, 0.1), "g": torch.optim.SGD(both, 0.1)}

    with pytest.raises(MisconfigurationException, match="Leave it out of one of them"):
        run(Pair.training_step, shared)

    def closure(self: Pair) -> Any:
        return {
            "d": torch.optim.LBFGS(self.discriminator.parameters()),
            "g": torch.optim.SGD(self.generator.parameters()),
        }

    with pytest.raises(MisconfigurationException, match="Use one that steps on gradients"):
        run(Pair.training_step, closure)

    def unnamed(self: Pair) -> Any:
        return list(Pair.configure_optimizers(self).values())[1:] * 2

    with pytest.raises(RuntimeError, match="Return them by name"):
        run(Pair.training_step, unnamed)
