from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

from fulmen.callbacks.progress import tqdm_progress
from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.utilities.exceptions import MisconfigurationException

from .runs import Hooks, Model, Time, loader, stream, trainer
from .terminal import Terminal, pipe, terminal

TIMES = r"\[\d\d:\d\d<\d\d:\d\d, +[\d.]+it/s"


def _shown(found: Terminal, pattern: str) -> bool:
    return any(re.fullmatch(pattern, drawing) for drawing in found.drawings)


def test_a_fit_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(TQDMProgressBar(), logger=CSVLogger("logs")).fit(Model(), loader(16), loader(3))
    assert _shown(found, r"Sanity Checking DataLoader 0: 100%\|█+\| 2/2 " + TIMES + r"\]")
    assert _shown(found, r"Epoch 0:   0%\|\s+\| 0/16 \[00:00<\?, \?it/s, v_num=0\]")
    assert _shown(found, r"Epoch 0: 100%\|█+\| 16/16 " + TIMES + r", v_num=0, train_loss=[\d.e-]+\]")
    assert _shown(found, r"Validation DataLoader 0: 100%\|█+\| 3/3 " + TIMES + r"\]")
    (line,) = found.screen
    values = r", v_num=0, train_loss=[\d.e-]+, val_loss=[\d.e-]+\]"
    assert re.fullmatch(r"Epoch 1: 100%\|█+\| 16/16 " + TIMES + values, line)


def test_the_values_are_those_that_callbacks_see(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        run = trainer(TQDMProgressBar())
        run.fit(Model(), loader(4), loader(3))
    values = dict(re.findall(r"(\w+_loss)=([\d.e-]+)", found.screen[-1]))
    for name in ("train_loss", "val_loss"):
        assert float(values[name]) == pytest.approx(float(run.callback_metrics[name]), rel=0.01)


@pytest.mark.parametrize(
    ("function", "name"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
def test_two_loaders_each_from_its_beginning(function: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Model):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch[0])

    with terminal(monkeypatch) as found:
        run = trainer(TQDMProgressBar())
        loaders = [loader(3), loader(2)]
        getattr(run, function)(Two(), loaders, **({} if function == "predict" else {"verbose": False}))
    assert _shown(found, name + r" DataLoader 0:   0%\|\s+\| 0/3 \[00:00<\?, \?it/s\]")
    assert _shown(found, name + r" DataLoader 0: 100%\|█+\| 3/3 " + TIMES + r"\]")
    assert _shown(found, name + r" DataLoader 1:   0%\|\s+\| 0/2 \[00:00<\?, \?it/s\]")
    (line,) = found.screen
    assert re.fullmatch(name + r" DataLoader 1: 100%\|█+\| 2/2 " + TIMES + r"\]", line)


def test_batches_of_which_nobody_knows_how_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        run = trainer(TQDMProgressBar(), max_epochs=1)
        run.fit(Model(), stream(5), stream(3))
        run.test(Model(), stream(4), verbose=False)
    assert _shown(found, r"Validation DataLoader 0: \|\s+\| 3/\? " + TIMES + r"\]")
    train, test = found.screen
    assert re.fullmatch(r"Epoch 0: \|\s+\| 5/\? " + TIMES + r", train_loss=[\d.e-]+, val_loss=[\d.e-]+\]", train)
    assert re.fullmatch(r"Testing DataLoader 0: \|\s+\| 4/\? " + TIMES + r"\]", test)


def test_printing_and_validation_within_leave_a_clean_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(TQDMProgressBar(), val_check_interval=0.5).fit(Model(talk=True), loader(6), loader(3))
    assert _shown(found, r"Epoch 0:  50%\|█[^|]*\| 3/6 " + TIMES + ".*")
    *printed, line = found.screen
    assert printed == ["end of epoch|0", "end of epoch|1"]
    assert line.startswith("Epoch 1: 100%")


def test_leave_keeps_a_line_for_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(TQDMProgressBar(leave=True), max_epochs=3).fit(Model(), loader(4), loader(2))
    assert [line[:13] for line in found.screen] == ["Epoch 0: 100%", "Epoch 1: 100%", "Epoch 2: 100%"]
    assert all("train_loss=" in line and "val_loss=" in line for line in found.screen)


def test_an_exception_leaves_the_cursor_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Model):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            raise ArithmeticError

    with terminal(monkeypatch) as found, pytest.raises(ArithmeticError):
        trainer(TQDMProgressBar(), num_sanity_val_steps=0).fit(Failing(), loader(4), loader(2))
    assert [line[:13] for line in found.screen] == ["Epoch 0: 100%"]
    assert found.text.endswith("\r\n")


def test_a_file_gets_a_line_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        trainer(TQDMProgressBar(), max_epochs=3).fit(Model(talk=True), loader(4), loader(2))
    first, _, second, _, third, _ = lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue()
    assert lines[1::2] == [f"end of epoch|{epoch}" for epoch in range(3)]
    for epoch, line in enumerate((first, second, third)):
        values = r"train_loss=[\d.e-]+, val_loss=[\d.e-]+\]"
        assert re.fullmatch(rf"Epoch {epoch}: 100%\|#+\| 4/4 {TIMES}, {values}", line)


def test_a_file_gets_a_line_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        trainer(TQDMProgressBar()).test(Model(), [loader(3), stream(2)], verbose=False)
    known, unknown = out.getvalue().splitlines()
    assert re.fullmatch(r"Testing DataLoader 0: 100%\|#+\| 3/3 " + TIMES + r"\]", known)
    assert re.fullmatch(r"Testing DataLoader 1: \|\s+\| 2/\? " + TIMES + r"\]", unknown)


def test_a_file_gets_a_line_every_half_minute_of_a_long_epoch(clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        hooks = Hooks(TQDMProgressBar(), batches=1000)
        hooks.start()
        hooks.bar.on_train_epoch_start(hooks.trainer, None)
        for index in range(1000):
            clock.now += 0.125
            hooks.bar.on_train_batch_end(hooks.trainer, None, None, None, index)
        hooks.bar.on_train_epoch_end(hooks.trainer, None)
        hooks.end()
    assert [re.findall(r"(\d+)/1000", line) for line in out.getvalue().splitlines()] == [
        ["240"], ["480"], ["720"], ["960"], ["1000"],
    ]  # fmt: skip


def test_a_file_gets_the_last_of_many_short_epochs(clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        hooks = Hooks(TQDMProgressBar(), batches=1)
        hooks.start()
        for _ in range(500):
            hooks.epoch(1)
        hooks.end()
    lines = out.getvalue().splitlines()
    assert len(lines) <= 22
    assert lines[-1].startswith("Epoch 499: 100%")


def test_refresh_rate_zero_shows_nothing_and_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar(refresh_rate=0)
    assert bar.is_disabled
    assert not bar.listens_to("on_train_batch_end")
    with terminal(monkeypatch) as found:
        trainer(bar).fit(Model(), loader(4), loader(2))
        hooks = Hooks(bar)
        hooks.start()
        hooks.epoch(10)
        hooks.validate(3)
        hooks.end()
    assert found.text == ""


def test_what_a_subclass_overrides_is_heard_without_a_bar() -> None:
    heard = []

    class Own(TQDMProgressBar):
        def on_train_batch_end(self, *args: Any) -> None:
            super().on_train_batch_end(*args)
            heard.append(args[-1])

    bar = Own(refresh_rate=0)
    assert bar.listens_to("on_train_batch_end")
    assert not bar.listens_to("on_validation_batch_end")
    trainer(bar, max_epochs=1).fit(Model(), loader(3), loader(1))
    assert heard == [0, 1, 2]


def test_other_processes_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        hooks = Hooks(TQDMProgressBar(), is_global_zero=False)
        hooks.start()
        hooks.epoch(10)
        hooks.end()
    assert found.text == ""


def test_a_bar_can_be_changed_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(TQDMProgressBar):
        BAR_FORMAT = "{desc}{n_fmt} of {total_fmt}"

        def init_validation_tqdm(self) -> Any:
            bar = super().init_validation_tqdm()
            bar.bar_format = "checking {n_fmt}"
            return bar

    with terminal(monkeypatch) as found:
        trainer(Own(), max_epochs=1).fit(Model(), loader(4), loader(2))
    assert "checking 2" in found.drawings
    assert found.screen == ["Epoch 0: 4 of 4"]


def test_bars_are_there_once_their_stage_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar()
    for name, hook in (
        ("train_progress_bar", "on_train_start"),
        ("val_progress_bar", "on_validation_start"),
        ("test_progress_bar", "on_test_start"),
        ("predict_progress_bar", "on_predict_start"),
    ):
        with pytest.raises(TypeError, match=rf"Use it after `super\(\).{hook}"):
            getattr(bar, name)
    with terminal(monkeypatch):
        trainer(bar).fit(Model(), loader(4), loader(2))
    assert (bar.train_progress_bar.n, bar.train_progress_bar.total) == (4, 4)
    assert isinstance(bar.val_progress_bar, tqdm_progress.Tqdm)


def test_room_for_the_bars_of_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar(process_position=2)
    with terminal(monkeypatch):
        trainer(bar).fit(Model(), loader(4), loader(2))
    assert bar.train_progress_bar.pos == -4
    assert bar.val_progress_bar.pos == -5


def test_nothing_prints_through_a_bar_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    TQDMProgressBar().print("a", 1, sep="-", end="!")
    assert capsys.readouterr().out == "a-1!"


def test_print_knows_the_arguments_of_print(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        hooks = Hooks(TQDMProgressBar())
        hooks.start()
        hooks.bar.print("a", 1, sep="-", end="!\n", flush=True)
        hooks.end()
    assert found.screen[0] == "a-1!"


@pytest.mark.parametrize("name", ["refresh_rate", "process_position"])
def test_numbers_are_not_negative(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"Pass `{name}=0`"):
        TQDMProgressBar(**{name: -1})  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "set_to", "used"), [(1, "5", 5), (10, "5", 10), (0, "5", 0)])
def test_the_environment_may_ask_for_fewer_drawings(
    asked: int, set_to: str, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_MINITERS", set_to)
    assert TQDMProgressBar(refresh_rate=asked).refresh_rate == used


def test_it_can_be_copied_and_sent_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = TQDMProgressBar(refresh_rate=3)
    with terminal(monkeypatch):
        trainer(bar).fit(Model(), loader(4), loader(2))
    for other in (copy.deepcopy(bar), pickle.loads(pickle.dumps(bar))):
        assert other.refresh_rate == 3
        assert other._bars == {}


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        tqdm_progress.Other  # noqa: B018
