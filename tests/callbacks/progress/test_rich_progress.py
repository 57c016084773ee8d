from __future__ import annotations

import copy
import pickle
import re
import sys
from typing import Any

import pytest

from fulmen.callbacks.progress import rich_progress
from fulmen.callbacks.progress.rich_progress import RichProgressBar, RichProgressBarTheme
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.utilities.exceptions import MisconfigurationException

from .runs import Hooks, Model, Time, loader, stream, trainer
from .terminal import Terminal, pipe, terminal

pytest.importorskip("rich", reason="the bar is drawn with it")
REST = r"\d:\d\d:\d\d • (\d|-):(\d\d|--):(\d\d|--) +[\d.]+it/s"


def _shown(found: Terminal, pattern: str) -> bool:
    return any(re.fullmatch(pattern, drawing) for drawing in found.drawings)


def test_a_fit_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(RichProgressBar(), logger=CSVLogger("logs")).fit(Model(), loader(16), loader(3))
    assert _shown(found, r"Sanity Checking ━+ 2/2 " + REST)
    assert _shown(found, r"Epoch 0/1 +━+ 0/16 " + REST + " v_num: 0")
    assert _shown(found, r"Validation +━+ 3/3 +" + REST)
    (line,) = found.screen
    values = r" v_num: 0 train_loss: -?\d+\.\d{3} val_loss: -?\d+\.\d{3}"
    assert re.fullmatch(r"Epoch 1/1 +━+ 16/16 " + REST + values, line)


def test_published_bars_replace_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(RichProgressBar):
        def _get_train_description(self, current_epoch: int) -> str:
            assert super()._get_train_description(current_epoch) == f"Epoch {current_epoch}/1 "
            return f"Round {current_epoch + 1} of {self.trainer.max_epochs} "

    with terminal(monkeypatch) as found:
        trainer(Counting()).fit(Model(), loader(4), loader(3))
    (line,) = found.screen
    assert line.startswith("Round 2 of 2")


@pytest.mark.parametrize(
    ("function", "name"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
def test_two_loaders_each_from_its_beginning(function: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Model):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return self.layer(batch[0])

    with terminal(monkeypatch) as found:
        run = trainer(RichProgressBar())
        loaders = [loader(3), loader(2)]
        getattr(run, function)(Two(), loaders, **({} if function == "predict" else {"verbose": False}))
    assert _shown(found, name + r" ━+ 0/3 " + REST)
    assert _shown(found, name + r" ━+ 3/3 " + REST)
    (line,) = found.screen
    assert re.fullmatch(name + r" ━+ 2/2 " + REST, line)


def test_batches_of_which_nobody_knows_how_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(RichProgressBar(), max_epochs=1).fit(Model(), stream(5), stream(3))
    assert _shown(found, r"Validation +━+ 3/-- " + REST)
    (line,) = found.screen
    assert re.match(r"Epoch 0/0 +━+ 5/-- " + REST, line)


def test_no_end_of_epochs_is_none_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(RichProgressBar(), max_epochs=-1, max_steps=6).fit(Model(), loader(4), loader(2))
    assert re.match(r"Epoch 1 +━+ 2/2 ", found.screen[-1])


def test_printing_goes_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Talking(Model):
        def on_train_epoch_end(self) -> None:
            self.print("end of epoch", self.current_epoch)
            print("plain", self.current_epoch)

    with terminal(monkeypatch) as found:
        trainer(RichProgressBar()).fit(Talking(), loader(4), loader(2))
    assert found.screen[:-1] == ["end of epoch 0", "plain 0", "end of epoch 1", "plain 1"]
    assert found.screen[-1].startswith("Epoch 1/1")


def test_leave_keeps_a_line_for_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as found:
        trainer(RichProgressBar(leave=True), max_epochs=3).fit(Model(), loader(4), loader(2))
    assert [line[:9] for line in found.screen] == ["Epoch 0/2", "Epoch 1/2", "Epoch 2/2"]
    assert all("4/4" in line and "val_loss: " in line for line in found.screen)


def test_an_exception_gives_the_terminal_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Model):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            raise ArithmeticError

    bar = RichProgressBar()
    with terminal(monkeypatch) as found, pytest.raises(ArithmeticError):
        trainer(bar, num_sanity_val_steps=0).fit(Failing(), loader(4), loader(2))
    assert found.screen[0].startswith("Epoch 0/1")
    assert "\x1b[?25h" in found.text[-20:], "the cursor is still hidden"
    assert bar.progress is None


def test_an_interrupt_in_the_midst_of_a_drawing_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = RichProgressBar()
    with terminal(monkeypatch) as found:
        hooks = Hooks(bar)
        hooks.start()
        stop = bar.progress.stop

        def half() -> None:
            stop()
            raise IndexError("pop from empty list")

        bar.progress.stop = half
        bar.on_exception(hooks.trainer, None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert bar.progress is None
    assert "\x1b[?25h" in found.text[-20:], "the cursor is still hidden"


def test_a_file_gets_a_line_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        trainer(RichProgressBar(), max_epochs=3).fit(Model(talk=True), loader(4), stream(2))
    lines = out.getvalue().splitlines()
    for epoch, line in enumerate(lines[::2]):
        values = r" train_loss: -?\d+\.\d{3} val_loss: -?\d+\.\d{3}"
        assert re.fullmatch(rf"Epoch {epoch}/2 +4/4 " + REST + values, line)
    assert len(lines) == 6


def test_drawn_by_the_clock(clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = RichProgressBar(refresh_rate=100)
    drawings = []
    draw = bar._draw

    def count(*args: Any) -> None:
        drawings.append(args)
        draw(*args)

    monkeypatch.setattr(bar, "_draw", count)
    with terminal(monkeypatch) as found:
        hooks = Hooks(bar, batches=1000)
        hooks.start()
        bar.on_train_epoch_start(hooks.trainer, hooks.trainer.lightning_module)
        for index in range(1000):
            clock.now += 0.001
            bar.on_train_batch_end(hooks.trainer, None, None, None, index)  # type: ignore[arg-type]
        hooks.end()
    assert 8 <= len(drawings) <= 10 + 4
    assert "1000/1000" in found.screen[-1]


def test_refresh_rate_is_drawings_a_second() -> None:
    assert RichProgressBar(refresh_rate=2)._make_clock().interval == 0.5
    assert RichProgressBar(refresh_rate=100)._make_clock().interval == 0.1


def test_refresh_rate_zero_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = RichProgressBar(refresh_rate=0)
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


def test_the_theme_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    theme = RichProgressBarTheme(
        description="green", metrics_text_delimiter=" | ", metrics_format=".1e", progress_bar_finished="red"
    )
    with terminal(monkeypatch) as found:
        trainer(RichProgressBar(theme=theme), max_epochs=1).fit(Model(), loader(4), loader(2))
    assert re.search(r"train_loss: \d\.\de[+-]\d\d \| val_loss: -?\d\.\de", found.screen[-1])
    assert "\x1b[32mEpoch 0/0" in found.text
    assert "\x1b[31m━━━" in found.text


def test_columns_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(RichProgressBar):
        def configure_columns(self, trainer: Any) -> list[Any]:
            return ["mine", *super().configure_columns(trainer)]

    with terminal(monkeypatch) as found:
        trainer(Own(), max_epochs=1).fit(Model(), loader(4), loader(2))
    assert found.screen[-1].startswith("mine Epoch 0/0")


def test_the_console_can_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as out:
        bar = RichProgressBar(console_kwargs={"force_terminal": True, "width": 50})
        trainer(bar, max_epochs=1).fit(Model(), loader(4), loader(2))
    assert "\x1b[2K" in out.getvalue()


def test_tasks_are_there_while_their_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}

    class Looking(Model):
        def on_validation_epoch_end(self) -> None:
            kind = "val_sanity_check_bar" if self.trainer.sanity_checking else "val_progress_bar"
            seen[kind] = getattr(bar, kind).completed

        def on_train_epoch_end(self) -> None:
            seen["train_progress_bar"] = bar.train_progress_bar.completed
            bar.refresh()
            bar.refresh(hard=True)

    bar = RichProgressBar()
    for name in ("train", "val", "test", "predict"):
        with pytest.raises(TypeError, match="Use it while that runs"):
            getattr(bar, f"{name}_progress_bar")
    with terminal(monkeypatch):
        trainer(bar, max_epochs=1).fit(Looking(), loader(4), loader(3))
    assert seen == {"val_sanity_check_bar": 2, "val_progress_bar": 3, "train_progress_bar": 4}


def test_nothing_prints_through_a_bar_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    RichProgressBar().print("a", 1, sep="-", end="!")
    assert capsys.readouterr().out == "a-1!"


def test_the_rate_is_not_negative() -> None:
    with pytest.raises(MisconfigurationException, match="0 for no bar"):
        RichProgressBar(refresh_rate=-1)


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install fulmen\[rich\]"):
        RichProgressBar()


def test_it_can_be_copied_and_sent_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = RichProgressBar(refresh_rate=3)
    with terminal(monkeypatch):
        trainer(bar).fit(Model(), loader(4), loader(2))
    for other in (copy.deepcopy(bar), pickle.loads(pickle.dumps(bar))):
        assert other.refresh_rate == 3
        assert other.progress is None


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        rich_progress.Other  # noqa: B018
