from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.resume.course import Record, assert_equal, check_every_point, seed
from tests.resume.loaders import Augmented
from tests.resume.test_every_step import Model as Plain
from tests.tuner.models import QUIET, table
from torch.optim.lr_scheduler import LambdaLR, SequentialLR, StepLR
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, LearningRateFinder, ModelCheckpoint
from fulmen.callbacks.lr_finder import rescale
from fulmen.callbacks.lr_search import LRFinder, rate_at
from fulmen.tuner import Tuner
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.types import LRSchedulerConfig

SWEEP: dict[str, Any] = {"min_lr": 1e-4, "max_lr": 1.0, "early_stop_threshold": None}


class Losing(pl.LightningModule):
    """Its losses are written down beforehand."""

    def __init__(self, losses: list[float | None], lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr = lr
        self.layer = torch.nn.Linear(4, 1)
        self.losses = losses

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        used.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])
        loss = self.losses[self.global_step % len(self.losses)]
        return None if loss is None else self.layer.weight.sum() * 0 + loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


used: list[list[float]] = []
DOWN = [1.0 - 0.02 * i for i in range(20)] + [0.6 + 0.1 * i for i in range(20)]


@pytest.fixture(autouse=True)
def _anew() -> None:
    used.clear()


def quiet(**flags: Any) -> pl.Trainer:
    return pl.Trainer(**{"max_epochs": 1, "logger": False, **QUIET, **flags})


def loader(batch_size: int = 2) -> Any:
    return DataLoader(table(20), batch_size)


def test_what_is_found_is_used() -> None:
    finder = LearningRateFinder(num_training_steps=30, **SWEEP)
    model = Losing(DOWN)
    trainer = quiet(callbacks=[finder])
    trainer.fit(model, loader())
    assert finder.optimal_lr is not None
    assert [rates for (rates,) in used[:30]] == finder.optimal_lr.results["lr"]
    assert used[:30] == [[rate_at(step, finder.optimal_lr)] for step in range(30)]
    assert used[30:] == [[model.lr]] * 10 and model.lr == model.hparams["lr"] != 0.1
    assert finder.optimal_lr.suggestion() == model.lr


@given(st.lists(st.floats(-5, 5) | st.just(math.nan) | st.just(math.inf), min_size=3, max_size=40),
       st.integers(0, 12), st.integers(0, 5))  # fmt: skip
def test_the_suggestion_lies_where_the_loss_falls_most(losses: list[float], begin: int, end: int) -> None:
    finder = LRFinder("linear", 0.0, 1.0, len(losses))
    rates = [0.1 + 0.1 * i for i in range(len(losses))]
    finder.results = {"lr": rates, "loss": losses}
    indices = [i for i in range(begin, len(losses) - end) if math.isfinite(losses[i])]
    if len(indices) < 2:
        with pytest.warns(UserWarning, match="suggests no rate.*What to do: "):
            assert finder.suggestion(begin, end) is None
        return
    found = finder.suggestion(begin, end)
    slopes = torch.gradient(
        torch.tensor([losses[i] for i in indices]), spacing=[torch.tensor([rates[i] for i in indices])]
    )[0]
    assert found == rates[indices[int(slopes.argmin())]]


@pytest.mark.parametrize(
    ("losses", "options", "reason"),
    [
        (DOWN, {"num_training": 5}, r"5 points.*leave 0.*raise `num_training`"),
        ([1.0, 1.0, 900.0], {"num_training": 30, "early_stop_threshold": 4.0}, r"stopped after 3 of 30.*4\.0 times"),
        ([1.0] * 5 + [math.nan], {"num_training": 30}, "look at the loss, which was NaN"),
        ([None], {"num_training": 30}, "look at the loss, which was NaN, infinite or missing"),
    ],
)
@pytest.mark.filterwarnings("ignore:`training_step` returned None")
def test_why_there_is_no_suggestion(losses: list[float | None], options: dict[str, Any], reason: str) -> None:
    model = Losing(losses)
    with pytest.warns(UserWarning, match=f"suggests no rate.*{reason}"):
        Tuner(quiet()).lr_find(model, loader(), **{**SWEEP, **options})
    assert model.lr == 0.1


def test_it_goes_on_where_the_data_end() -> None:
    found = Tuner(quiet(max_epochs=1, max_steps=3)).lr_find(Losing(DOWN), loader(), num_training=35, **SWEEP)
    assert found is not None and len(found.results["lr"]) == 35
    assert found._total_batch_idx == 34


def test_windows_are_the_big_batch() -> None:
    """Under accumulation, also where the last window of an epoch is shorter."""
    torch.manual_seed(1)

    class Regression(Losing):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.layer(batch[0]).squeeze(1) - batch[1]).pow(2).mean()

    model = Regression([])
    data = DataLoader(table(22), 2), DataLoader(table(22), 8)
    small = Tuner(quiet(accumulate_grad_batches=4)).lr_find(model, data[0], num_training=14, update_attr=False, **SWEEP)
    big = Tuner(quiet()).lr_find(model, data[1], num_training=14, update_attr=False, **SWEEP)
    assert small is not None and big is not None
    assert small.results["lr"] == big.results["lr"]
    assert small.results["loss"] == pytest.approx(big.results["loss"], rel=1e-5)


def test_losses_below_zero() -> None:
    """The best may be negative, of which a multiple is no bound."""
    found = Tuner(quiet()).lr_find(
        Losing([-1.0 - 0.1 * i for i in range(20)] + [5000.0]), loader(), num_training=30, min_lr=1e-3
    )
    assert found is not None and len(found.results["lr"]) == 21
    assert "21 of 30" in found.stopped


def test_monitors_wait_for_training(tmp_path: Path) -> None:
    """Checkpoints and early stopping whose metrics are not there in a trial."""

    class Late(Losing):
        def on_train_epoch_end(self) -> None:
            self.log("late", float(self.current_epoch))

    saver = ModelCheckpoint(tmp_path, monitor="late", save_top_k=-1)
    trainer = quiet(
        callbacks=[LearningRateFinder(num_training_steps=15, **SWEEP), saver, EarlyStopping("late")],
        max_epochs=2, enable_checkpointing=True,
    )  # fmt: skip
    trainer.fit(Late(DOWN), loader())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt"]


def test_by_hand() -> None:
    """Under manual optimization, where the step returns the loss."""

    class ByHand(Losing):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return loss.detach()

    model = ByHand(DOWN)
    found = Tuner(quiet()).lr_find(model, loader(), num_training=30, **SWEEP)
    assert found is not None and len(found.results["lr"]) == 30
    assert [rate for (rate,) in used] == found.results["lr"] and model.lr == found.suggestion()

    class Silent(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)

    with pytest.raises(MisconfigurationException, match=r"Write `return loss\.detach\(\)` at its end"):
        Tuner(quiet()).lr_find(Silent(DOWN), loader())


def test_a_loader_that_ends() -> None:
    """Empty epochs do not go on for ever."""

    class Once:
        def __init__(self) -> None:
            self.batches = iter([[torch.ones(2, 4)]] * 4)

        def __iter__(self) -> Any:
            return self.batches

    with pytest.warns(UserWarning, match="gave no batch"), pytest.warns(UserWarning, match="took 4 of 30 steps"):
        Tuner(quiet()).lr_find(Losing(DOWN), Once(), num_training=30, update_attr=False, **SWEEP)


class Groups(Losing):
    """Two groups, of which one has a tenth of the rate, and a schedule made of it."""

    def configure_optimizers(self) -> Any:
        groups = [{"params": [self.layer.weight], "lr": self.lr}, {"params": [self.layer.bias], "lr": self.lr * 0.1}]
        optimizer = torch.optim.SGD(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_at_milestones() -> None:
    """As in Lightning's documentation: with groups in their ratio, and the schedule going on from the rate found."""

    class FineTuneLearningRateFinder(LearningRateFinder):
        def __init__(self, milestones: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.milestones = milestones
            self.found: list[float] = []

        def on_fit_start(self, *args: Any, **kwargs: Any) -> None:
            return

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch in self.milestones or trainer.current_epoch == 0:
                self.lr_find(trainer, pl_module)
                assert self.optimal_lr is not None
                self.found.append(self.optimal_lr.suggestion() or 0.0)
                used.clear()

    finder = FineTuneLearningRateFinder(milestones=(2,), num_training_steps=30, min_lr=1e-4)
    model = Groups(DOWN)
    quiet(callbacks=[finder], max_epochs=3).fit(model, loader())
    assert len(finder.found) == 2 and finder.found[1] == model.lr
    first, tenth = zip(*used, strict=True)
    assert first == pytest.approx([model.lr * 21 / (21 + step) for step in range(10)])
    assert tenth == pytest.approx([rate * 0.1 for rate in first])
    assert used[0][0] == model.lr


def test_rescaling_schedules_within_schedules() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], torch.tensor(0.2))
    schedule = SequentialLR(optimizer, [LambdaLR(optimizer, lambda step: 0.5), StepLR(optimizer, 1, 0.5)], [2])
    rate = optimizer.param_groups[0]["lr"]
    rescale(optimizer, [LRSchedulerConfig(schedule)], 0.4)
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == pytest.approx(0.4)
    optimizer.step()
    schedule._schedulers[0].step()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.4)  # half of twice the base of 0.4


class Resumable(Plain):
    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.lr = 0.01

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=100)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fitting(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
    seed(number)
    trainer = pl.Trainer(max_epochs=2, logger=record.logger, callbacks=callbacks, **QUIET)
    trainer.fit(Resumable(record), DataLoader(Augmented(26), 4, shuffle=True), DataLoader(table(8), 4), ckpt_path=path)
    return trainer


def test_resumed_runs_keep_the_rate(tmp_path: Path) -> None:
    """The test is not made again, and its result is there."""
    results: list[Any] = []

    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        finder = LearningRateFinder(num_training_steps=30, **SWEEP)
        trainer = fitting(record, [finder, *callbacks], path, number)
        assert finder.optimal_lr is not None and trainer.lightning_module.lr != 0.01
        results.append([finder.optimal_lr.results, finder.optimal_lr.mode, trainer.lightning_module.lr])
        return trainer

    tried = check_every_point(fit, tmp_path, lambda points: points[1::3], lambda *_: None)
    assert tried and all(one == results[0] for one in results)


def test_from_a_checkpoint_that_knows_of_no_finder(tmp_path: Path) -> None:
    """The test begins with the weights and moments of the checkpoint, and training goes on with the rate it found."""
    trainer = fitting(Record(), [], None, 1)
    trainer.save_checkpoint(path := tmp_path / "plain.ckpt")

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            watched.append((trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"]))

    watched: list[tuple[int, float]] = []
    finder, record = LearningRateFinder(num_training_steps=30, **SWEEP), Record()
    trainer = pl.Trainer(max_epochs=3, logger=record.logger, callbacks=[finder, Watch()], **QUIET)
    model = Resumable(record)
    trainer.fit(model, DataLoader(Augmented(26), 4, shuffle=True), DataLoader(table(8), 4), ckpt_path=path)
    assert watched[0] == (14, model.lr) and model.lr != 0.01
    assert trainer.global_step == 21 and len(watched) == 7


def test_interrupted_in_the_middle_of_training(tmp_path: Path) -> None:
    """A signal in a trial ends the run with what there was before it, and the saved run goes on with the same."""
    import os
    import signal

    class Interrupting(LearningRateFinder):
        def on_fit_start(self, *args: Any) -> None: ...

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                armed.append(True)
                self.lr_find(trainer, pl_module)

    class Signalling(Resumable):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if armed and batch_idx == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                armed.clear()
            return super().training_step(batch, batch_idx)

    armed: list[bool] = []

    def fit(kind: type[Resumable], callbacks: list[pl.Callback], number: int, path: Any = None) -> pl.Trainer:
        seed(number)
        model = kind(Record())
        saver = ModelCheckpoint(tmp_path, save_top_k=0)
        trainer = quiet(callbacks=[*callbacks, saver], max_epochs=2, enable_checkpointing=True)
        trainer.fit(model, DataLoader(Augmented(26), 4, shuffle=True), DataLoader(table(8), 4), ckpt_path=path)
        return trainer

    with pytest.raises(SystemExit):
        fit(Signalling, [Interrupting(num_training_steps=30, **SWEEP)], 7)
    (path,) = tmp_path.glob("*.ckpt")
    resumed = fit(Resumable, [], 99, path)
    whole = fit(Resumable, [], 7)
    assert_equal(dict(resumed.lightning_module.state_dict()), dict(whole.lightning_module.state_dict()))
    assert resumed.global_step == whole.global_step == 14


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"mode": "x"}, 'Pass `mode="exponential"`'),
        ({"min_lr": 0}, "For example `min_lr=1e-6, max_lr=1`"),
        ({"min_lr": 2}, "For example `min_lr=1e-6, max_lr=1`"),
        ({"num_training": 0}, "The default of 100 suits most"),
        ({"early_stop_threshold": 0}, "Pass 4.0, or None"),
        ({"method": "test"}, "Leave it out"),
        ({"attr_name": "rate"}, "name yours with `attr_name"),
    ],
)
def test_mistakes(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MisconfigurationException, match=remedy):
        Tuner(quiet()).lr_find(Losing(DOWN), loader(), **options)
    LearningRateFinder(mode="linear", min_lr=0)


def test_several_optimizers() -> None:
    class Two(Losing):
        automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]

    with pytest.raises(MisconfigurationException, match="Search with one of them at a time"):
        Tuner(quiet()).lr_find(Two(DOWN), loader())


def test_an_iterator_cannot_be_given_back() -> None:
    with pytest.raises(MisconfigurationException, match="whose `__iter__` begins anew"):
        Tuner(quiet()).lr_find(Losing(DOWN), (batch for batch in loader()))


def test_not_twice() -> None:
    with pytest.raises(ValueError, match="Remove it to use the Tuner"):
        Tuner(quiet(callbacks=[LearningRateFinder()])).lr_find(Losing(DOWN), loader())


def test_fast_dev_run() -> None:
    with pytest.warns(UserWarning, match="Skipping learning rate finder"):
        assert Tuner(quiet(fast_dev_run=True)).lr_find(Losing(DOWN), loader()) is None
    with pytest.warns(UserWarning, match="Skipping learning rate finder"):
        quiet(fast_dev_run=True, callbacks=[LearningRateFinder()]).fit(Losing(DOWN), loader())


def test_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    shown: list[bool] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(True))
    found = Tuner(quiet()).lr_find(Losing(DOWN), loader(), num_training=30, **SWEEP)
    assert found is not None
    figure = found.plot(suggest=True, show=True)
    (axes,) = figure.axes
    curve, mark = axes.lines
    assert curve.get_xdata().tolist() == found.results["lr"] and curve.get_ydata().tolist() == found.results["loss"]
    assert mark.get_xdata().tolist() == [found.suggestion()] and axes.get_xscale() == "log" and shown == [True]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Learning rate", "Loss")
    _, (left, right) = pyplot.subplots(1, 2)
    assert found.plot(ax=right) is right.figure and len(right.lines) == 1 and not left.lines
    pyplot.close("all")
