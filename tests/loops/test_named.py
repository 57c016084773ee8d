"""Several optimizers with names equal loops written by hand, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.loops.named_runs import QUIET, ByHand, Case, InTurn, Pair, images, train
from tests.resume.course import MemoryLogger, Record, assert_equal, check_every_point, seed
from torch import nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from fulmen.utilities.exceptions import MisconfigurationException

CLIPS = (None, ("norm", 0.1), ("value", 0.01))
SCHEDULES = (None, "step", "epoch", "plateau step", "plateau epoch")
CASES = st.builds(
    Case,
    in_turn=st.booleans(),
    accumulate=st.integers(1, 4),
    batch=st.integers(3, 6),
    clip=st.sampled_from(CLIPS),
    precision=st.sampled_from(("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")),
    schedules=st.tuples(st.sampled_from(SCHEDULES), st.sampled_from(SCHEDULES)),
    skips=st.frozensets(st.tuples(st.integers(0, 7), st.sampled_from("dg")), max_size=4),
    scale=st.sampled_from((8.0, 2.0**20)),
)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@given(CASES)
@example(Case(accumulate=4, clip=("norm", 0.1), precision="16-mixed"))
@example(Case(in_turn=True, accumulate=4, clip=("value", 0.01), precision="16-mixed", scale=2.0**20))
@example(Case(accumulate=2, clip=("value", 0.01), precision="64-true", schedules=("plateau step", "epoch")))
@example(
    Case(in_turn=True, accumulate=4, clip=("norm", 0.1), precision="bf16-mixed", schedules=("plateau epoch", "step"))
)
@example(Case(schedules=("step", "step"), skips=frozenset({(0, "g"), (1, "g"), (3, "g"), (3, "d")})))
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # a scaler may leave the first update out
def test_equals_a_loop_by_hand(case: Case) -> None:
    trainer = train(case)
    by_hand = ByHand(case).run()
    assert same(trainer.lightning_module, by_hand.model)
    for name, ours in zip("dg", trainer.optimizers, strict=True):
        assert_equal(ours.state_dict(), by_hand.optimizers[name].state_dict())
    assert trainer.global_step == by_hand.steps == trainer.fit_loop.epoch_loop._batches_that_stepped
    if by_hand.scaler is not None:
        assert trainer.strategy.precision_plugin.scaler.state_dict() == by_hand.scaler.state_dict()


@pytest.mark.parametrize("case", [Case(accumulate=2), Case(in_turn=True, accumulate=4)])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_limit_of_steps_counts_updates_of_all_as_one(case: Case, steps: int) -> None:
    trainer = train(case, max_steps=steps)
    assert trainer.global_step == steps
    assert same(trainer.lightning_module, ByHand(case).run(max_steps=steps).model)


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


class Hears(pl.Callback):
    """Writes down what it hears of an update, and for which optimizer."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.heard.append(("zero", type(optimizer).__name__))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self.heard.append("backward")

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.heard.append("after")

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.heard.append(("step", type(optimizer).__name__))


def test_callbacks_hear_of_each_optimizer() -> None:
    def heard(case: Case) -> list[Any]:
        hears = Hears()
        train(case, callbacks=hears, fast_dev_run=2)
        return hears.heard

    backward = ["backward", "after"]
    zero, step = [[(event, name) for name in ("Adam", "SGD")] for event in ("zero", "step")]
    assert heard(Case()) == [*zero, *backward, *backward, *step] * 2
    assert heard(Case(in_turn=True)) == [
        zero[0], *backward, step[0], zero[1], *backward, step[1],
    ] * 2  # fmt: skip
    assert heard(Case(accumulate=2)) == [*zero, *backward * 4, *step]


def test_callbacks_that_go_by_steps(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    train(Case(accumulate=2), callbacks=saving, enable_checkpointing=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]
    trainer = train(Case(), callbacks=EarlyStopping("loss_d", divergence_threshold=0.0, check_on_train_epoch_end=True))
    assert (trainer.current_epoch, trainer.global_step) == (1, 6)


def test_rates_are_logged_by_name() -> None:
    monitor = LearningRateMonitor()
    train(Case(schedules=("step", None)), callbacks=monitor, logger=MemoryLogger(), log_every_n_steps=1, max_epochs=1)
    assert monitor.lrs["lr-d"] == pytest.approx([0.05 * 0.9**step for step in range(6)])
    assert set(monitor.lrs["lr-g"]) == {0.1}


def test_a_schedule_by_steps_waits_for_its_optimizer() -> None:
    """torch warns of a scheduler that steps before its optimizer, and warnings are errors here."""
    skips = frozenset({(0, "g"), (2, "g"), (4, "g")})
    trainer = train(Case(schedules=("step", "step"), skips=skips), max_epochs=1)
    assert [config.scheduler.last_epoch for config in trainer.lr_scheduler_configs] == [6, 3]


def test_a_loss_reaches_its_own_parameters_alone() -> None:
    class Looks(Pair):
        def on_after_backward(self) -> None:
            self.heard.append(
                str([network[0].weight.grad is not None for network in (self.discriminator, self.generator)])
            )

    model = Looks(Case(schedules=(None, None)))
    pl.Trainer(fast_dev_run=1, **QUIET).fit(model, DataLoader(images(), 4))
    assert model.heard[1:3] == ["[True, False]", "[True, True]"]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_network_that_is_frozen_rests() -> None:
    class Freezes(Pair):
        def on_train_epoch_start(self) -> None:
            self.discriminator.requires_grad_(self.current_epoch != 1)

        def on_train_epoch_end(self) -> None:
            self.ends.append([p.detach().clone() for p in self.discriminator.parameters()])

    model = Freezes()
    model.ends = []
    pl.Trainer(max_epochs=3, **QUIET).fit(model, DataLoader(images(), 4))
    first, second, third = model.ends
    assert all(map(torch.equal, first, second)) and not any(map(torch.equal, second, third))
    assert model.heard.count("Adam") == 12 and model.heard.count("SGD") == 18


def test_by_hand_each_step_counts() -> None:
    """Names change nothing for who steps the optimizers, and counts them, himself."""

    class ByHimself(Pair):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer, loss in zip(self.optimizers(), self.losses(batch[0]).values(), strict=True):
                optimizer.zero_grad()
                self.manual_backward(loss, retain_graph=True)
                optimizer.step()
                break

    model = ByHimself()
    trainer = pl.Trainer(max_epochs=1, **QUIET)
    trainer.fit(model, DataLoader(images(), 4))
    assert trainer.global_step == 6 and trainer.fit_loop.epoch_loop._batches_that_stepped == 6


@pytest.mark.parametrize(
    "case",
    [
        Case(accumulate=3, clip=("norm", 0.1), schedules=("step", "epoch"), skips=frozenset({(1, "g"), (3, "d")})),
        Case(in_turn=True, precision="bf16-mixed", schedules=("step", "plateau step"), skips=frozenset({(0, "g")})),
        Case(in_turn=True, accumulate=4, precision="16-mixed", schedules=("plateau epoch", None)),
    ],
)
def test_resumes_from_every_point(case: Case, tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        flags = {**case.flags(), "logger": record.logger, "log_every_n_steps": 1}
        trainer = pl.Trainer(max_epochs=2, callbacks=callbacks, **flags)
        model = (InTurn if case.in_turn else Pair)(case)
        trainer.fit(model, DataLoader(images(), case.batch, shuffle=True), ckpt_path=path)
        return trainer

    tried = check_every_point(fit, tmp_path, lambda points: points, lambda *_: None)
    assert len(tried) == 2 * 6 + 2


def run(step: Callable[..., Any], configure: Callable[[Pair], Any] | None = None, **members: Any) -> None:
    members["training_step"] = step
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

    def returned(self: Pair, batch: Any, batch_idx: int) -> Any:
        yield "d", self.losses(batch[0])["d"]
        return {"g": self.losses(batch[0])["g"]}

    with pytest.raises(MisconfigurationException, match=r"(?s)dict with the keys \['g'\].*Yield every loss"):
        run(returned)

    def one_graph(self: Pair, batch: Any, batch_idx: int) -> Any:
        yield from self.losses(batch[0]).items()

    with pytest.raises(MisconfigurationException, match="Compute it after the other's `yield`"):
        run(one_graph)

    def many(self: Pair, batch: Any, batch_idx: int) -> Any:
        return {"d": self.discriminator(batch[0])}

    with pytest.raises(MisconfigurationException, match=r"(?s)loss for 'd': a tensor.*over the batch: `loss.mean\(\)`"):
        run(many)

    def without_graph(self: Pair, batch: Any, batch_idx: int) -> Any:
        return {"d": self.losses(batch[0])["d"], "g": torch.ones(())}

    with pytest.raises(MisconfigurationException, match=r"(?s)loss for 'g': a tensor.*Compute it from the model's out"):
        run(without_graph)

    with pytest.raises(MisconfigurationException, match=r"Hand everything on: `def backward\(self, loss, \*args"):
        run(Pair.training_step, backward=lambda self, loss: loss.backward())

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


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_loss_that_trains_nothing_is_said_once(in_turn: bool) -> None:
    def returns(self: Pair, batch: Any, batch_idx: int) -> Any:
        losses = self.losses(batch[0])
        return {"d": losses["d"], "g": self.discriminator(batch[0]).mean()}

    def only_real(self: Pair, batch: Any, batch_idx: int) -> Any:
        yield "g", self.discriminator(batch[0]).mean()

    with pytest.warns(UserWarning, match="The loss for 'g' gave no parameter.*see that the loss has the right") as said:
        run(only_real if in_turn else returns)
    assert len([one for one in said if "gave no parameter" in str(one.message)]) == 1


def test_a_step_that_fails_names_who_had_stepped(tmp_path: Path) -> None:
    """The file holds their new weights, and the batch comes again."""

    class Fails(InTurn):
        fails = True

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for name, loss in super().training_step(batch, batch_idx):
                if name == "g" and batch_idx == 2 and self.fails:
                    raise ValueError("boo")
                yield name, loss

    def fit(path: Path | None) -> pl.Trainer:
        saving = ModelCheckpoint(tmp_path, "{step}", save_on_exception=True)
        trainer = pl.Trainer(max_epochs=1, callbacks=saving, **{**QUIET, "enable_checkpointing": True})
        trainer.fit(Fails(), DataLoader(images(), 4), ckpt_path=path)
        return trainer

    with pytest.raises(ValueError, match="boo"):
        fit(None)
    (path,) = tmp_path.glob("*.ckpt")
    Fails.fails = False
    with pytest.warns(
        UserWarning, match=r"weights of the optimizers that had stepped in its last batch \(d\), buffers"
    ):
        trainer = fit(path)
    assert trainer.global_step == 6
