from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Manual, Net, data

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.async_io import AsyncCheckpointIO
from fulmen.checkpoint.io import TorchCheckpointIO
from fulmen.trainer.signals import Signals
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import SIGTERMException

TERM, INT = signal.SIGTERM, signal.SIGINT
pytestmark = pytest.mark.filterwarnings("ignore:The folder of checkpoints")
ENDS = [(TERM, SIGTERMException), (INT, KeyboardInterrupt)]


@pytest.fixture(autouse=True)
def _handlers(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every test has Python's usual handlers (a process in the background ignores Ctrl-C), and leaves them so."""
    caplog.set_level(logging.INFO, logger="fulmen")
    before = {number: signal.getsignal(number) for number in (TERM, INT)}
    signal.signal(TERM, signal.SIG_DFL)
    signal.signal(INT, signal.default_int_handler)
    yield
    left = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert left == {TERM: signal.SIG_DFL, INT: signal.default_int_handler}


class Raises(Callback):
    """Sends signals to its own process at an event."""

    def __init__(self, event: str, *numbers: int, at: int = 0, then: Callable[[], Any] = lambda: None) -> None:
        self.calls = 0

        def hook(*args: Any, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls == at + 1:
                for number in numbers:
                    signal.raise_signal(number)
                then()

        setattr(self, event, hook)


class Trains(Net):
    """Notes what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(f"train {batch_idx}")
        return super().training_step(batch, batch_idx)


class Both(Trains):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(f"val {batch_idx}")
        self.log("val", self(batch[0]).mean())


def saves(**flags: Any) -> ModelCheckpoint:
    return ModelCheckpoint("saved", **{"filename": "{step}", **flags})


def made(*callbacks: Any, **flags: Any) -> Trainer:
    checkpoints = any(isinstance(one, Checkpoint) for one in callbacks)
    return Trainer(**{**QUIET, "enable_checkpointing": checkpoints, **flags}, callbacks=list(callbacks))


def names() -> list[str]:
    return sorted(os.listdir("saved")) if os.path.isdir("saved") else []


def load(name: str) -> Any:
    return torch.load(Path("saved") / name)


# At the end of a step


@pytest.mark.parametrize(("number", "end"), ENDS)
def test_everything_is_saved_at_the_end_of_the_step(number: int, end: Any, caplog: Any) -> None:
    module, trainer = Trains(), made(Raises("on_train_batch_start", number, at=2), saves())
    with pytest.raises(end) as told:
        trainer.fit(module, data(5))
    assert module.seen == ["train 0", "train 1", "train 2"]
    assert names() == ["step=3.ckpt"]
    assert load("step=3.ckpt")["global_step"] == 3
    assert getattr(told.value, "code", 143) == 143
    name = {TERM: "SIGTERM", INT: "Ctrl-C"}[signal.Signals(number)]
    path = os.path.abspath("saved/step=3.ckpt")
    assert caplog.messages == [
        f'{name}: everything is saved to {path}. Training stops here; go on with `fit(ckpt_path="last")`.'
    ]
    assert trainer.interrupted
    assert trainer.received_sigterm == (number == TERM)
    assert str(trainer.state.status) == "interrupted"


@pytest.mark.parametrize(("number", "end"), ENDS)
def test_in_a_validation_too(number: int, end: Any) -> None:
    module = Both()
    trainer = made(Raises("on_validation_batch_start", number, at=1), saves(), num_sanity_val_steps=0)
    with pytest.raises(end):
        trainer.fit(module, data(2), data(3))
    assert module.seen == ["train 0", "train 1", "val 0", "val 1"]
    again = Both()
    made(saves(), num_sanity_val_steps=0).fit(again, data(2), data(3), ckpt_path="saved/step=2.ckpt")
    assert again.seen == ["val 2"]


def test_in_manual_optimization_too() -> None:
    class Hand(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self(batch[0]).mean())
            optimizer.step()

    with pytest.raises(SIGTERMException):
        made(Raises("on_before_backward", TERM, at=1), saves()).fit(Hand(), data(5))
    assert names() == ["step=2.ckpt"]


def test_in_the_sanity_check_there_is_nothing_to_save(caplog: Any) -> None:
    module, trainer = Both(), made(Raises("on_validation_batch_start", TERM), saves())
    with pytest.raises(SIGTERMException):
        trainer.fit(module, data(2), data(2))
    assert module.seen == ["val 0"]
    assert names() == []
    assert "SIGTERM: training stops before its first step, so there is nothing to save." in caplog.messages


@pytest.mark.parametrize(
    ("event", "epochs", "file", "seen"),
    [
        ("on_train_epoch_end", 2, "step=3.ckpt", ["train 0", "train 1", "train 0"]),
        ("on_train_epoch_end", 1, "step=2.ckpt", ["train 0", "train 1"]),
        ("on_train_end", 1, "step=2.ckpt", ["train 0", "train 1"]),
        ("on_train_epoch_start", 1, "step=1.ckpt", ["train 0"]),
    ],
)
def test_between_steps(event: str, epochs: int, file: str, seen: list[str]) -> None:
    module = Trains()
    trainer = made(Raises(event, TERM), saves(every_n_epochs=5), max_epochs=epochs)
    with pytest.raises(SIGTERMException):
        trainer.fit(module, data(2))
    assert module.seen == seen
    assert names() == [file]
    again = Trains()
    made(saves(every_n_epochs=5), max_epochs=epochs).fit(again, data(2), ckpt_path=f"saved/{file}")
    assert len(module.seen + again.seen) == 2 * epochs


def test_after_the_last_step_nothing_is_saved_twice(caplog: Any) -> None:
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_end", TERM), saves()).fit(Trains(), data(2))
    assert names() == ["step=2.ckpt"]
    assert "everything is saved to" in caplog.text


def test_a_step_that_was_saved_is_not_saved_twice() -> None:
    trainer = made(Raises("on_train_batch_start", TERM, at=1), saves(every_n_train_steps=2))
    with pytest.raises(SIGTERMException):
        trainer.fit(Trains(), data(5))
    assert names() == ["step=2.ckpt"]


def test_a_step_that_was_saved_in_an_earlier_batch_is() -> None:
    """Of one accumulation window: as many steps, another state."""
    flags = {"accumulate_grad_batches": 2}
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, at=2), saves(every_n_train_steps=1), **flags).fit(Trains(), data(6))
    assert names() == ["step=1-v1.ckpt", "step=1.ckpt"]
    again = Trains()
    made(saves(every_n_train_steps=1), **flags).fit(again, data(6), ckpt_path="saved/step=1-v1.ckpt")
    assert again.seen == ["train 3", "train 4", "train 5"]


def test_a_validation_goes_on_also_where_its_step_was_saved() -> None:
    flags = {"num_sanity_val_steps": 0}
    trainer = made(Raises("on_validation_batch_start", TERM, at=1), saves(every_n_train_steps=2), **flags)
    with pytest.raises(SIGTERMException):
        trainer.fit(Both(), data(2), data(3))
    assert names() == ["step=2-v1.ckpt", "step=2.ckpt"]
    again = Both()
    made(saves(every_n_train_steps=2), **flags).fit(again, data(2), data(3), ckpt_path="saved/step=2-v1.ckpt")
    assert again.seen == ["val 2"]


def test_a_file_that_somebody_removed_is_written_again() -> None:
    def remove() -> None:
        os.remove("saved/step=2.ckpt")

    with pytest.raises(SIGTERMException):
        made(saves(), Raises("on_train_end", TERM, then=remove)).fit(Trains(), data(2))
    assert names() == ["step=2.ckpt"]


# What becomes of the other files


def test_the_ranking_and_its_files_stay_as_they_are() -> None:
    kept = saves(monitor="loss", save_top_k=1, every_n_train_steps=1, enable_version_counter=False)

    class Logs(Trains):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("loss", float(batch_idx))
            return super().training_step(batch, batch_idx)

    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, at=2), kept).fit(Logs(), data(5))
    assert names() == ["step=1.ckpt", "step=3.ckpt"]
    assert kept.best_model_path == os.path.abspath("saved/step=1.ckpt")
    assert list(kept.best_k_models) == [kept.best_model_path]
    assert load("step=3.ckpt")["callbacks"][kept.state_key]["best_model_path"] == kept.best_model_path


def test_no_file_is_overwritten() -> None:
    os.mkdir("saved")
    Path("saved/step=1.ckpt").write_text("precious")
    kept = saves(enable_version_counter=False)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM), kept).fit(Trains(), data(5))
    assert Path("saved/step=1.ckpt").read_text() == "precious"
    assert load("step=1-v1.ckpt")["global_step"] == 1


@pytest.mark.parametrize("save_last", [True, "link"])
def test_the_last_checkpoint_is_brought_up_to_date(save_last: Any) -> None:
    kept = saves(save_last=save_last, every_n_train_steps=2)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, at=2), kept).fit(Trains(), data(5))
    assert names() == ["last.ckpt", "step=2.ckpt", "step=3.ckpt"]
    assert load("last.ckpt")["global_step"] == 3
    again = Trains()
    made(saves(save_last=save_last, every_n_train_steps=2)).fit(again, data(5), ckpt_path="last")
    assert again.seen == ["train 3", "train 4"]


def test_everything_is_saved_also_where_others_hold_weights_alone() -> None:
    kept = saves(save_weights_only=True, every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, at=1), kept).fit(Trains(), data(5))
    whole = [name for name in names() if "optimizer_states" in load(name)]
    assert whole == ["step=2-v1.ckpt"]
    assert kept.save_weights_only


def test_a_metric_that_the_weights_did_not_earn_is_not_in_the_name() -> None:
    kept = saves(filename="{step}-{val:.1f}", monitor="val")
    trainer = made(Raises("on_train_batch_start", TERM, at=2), kept, num_sanity_val_steps=0, max_epochs=2)
    with pytest.raises(SIGTERMException):
        trainer.fit(Both(), data(2), data(1))
    assert [name for name in names() if name.startswith("step=3")] == ["step=3-val=none.ckpt"]


def test_an_emergency_adds_nothing_to_it() -> None:
    kept = saves(save_on_exception=True)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, at=1), kept).fit(Trains(), data(5))
    assert names() == ["step=2.ckpt"]
    assert load("step=2.ckpt")["fulmen"]["course"]["exact"]


@pytest.mark.parametrize(
    ("callbacks", "flags", "told"),
    [
        ((), {}, r"Nothing is saved, since this Trainer has no `ModelCheckpoint`; add one with"),
        ((Checkpoint(),), {}, r"Nothing is saved, since this Trainer has no `ModelCheckpoint`; add one with"),
        ((saves(),), {"fast_dev_run": 3}, r"Nothing is saved under `fast_dev_run`"),
    ],
)
@pytest.mark.parametrize(("number", "end"), ENDS)
def test_where_nothing_saves(number: int, end: Any, callbacks: Any, flags: Any, told: str, caplog: Any) -> None:
    with pytest.raises(end):
        made(Raises("on_train_batch_start", number, at=1), *callbacks, **flags).fit(Trains(), data(5))
    assert told in caplog.text
    assert os.listdir() == []


@pytest.mark.parametrize(("number", "end"), ENDS)
def test_a_save_that_fails_is_shown_and_the_run_ends(number: int, end: Any, caplog: Any) -> None:
    class Full(TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    module = Trains()
    with pytest.raises(end) as told:
        made(Raises("on_train_batch_start", number, at=1), saves(), plugins=Full()).fit(module, data(5))
    assert module.seen == ["train 0", "train 1"]
    assert isinstance(told.value.__cause__, OSError)
    assert getattr(told.value, "code", 143) == 143
    assert "saving has failed: [Errno 28] No space left on device" in caplog.text
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


class Slow(TorchCheckpointIO):
    """Fails for the files it is told, and takes its time for the others."""

    def __init__(self, failing: str = "none") -> None:
        super().__init__()
        self.failing = failing

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        time.sleep(0.2)
        if self.failing in str(path):
            raise OSError(errno.EIO, "Input/output error")
        super().save_checkpoint(checkpoint, path, storage_options)


@pytest.mark.parametrize("save_last", [True, "link", None])
def test_what_is_written_in_the_background_is_there_before_it_is_said(save_last: Any, caplog: Any) -> None:
    kept = saves(save_last=save_last, every_n_train_steps=2)
    whole: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            whole.append(load("step=3.ckpt")["global_step"] == 3)

    handler = Looks()
    logging.getLogger("fulmen").addHandler(handler)
    try:
        with pytest.raises(SIGTERMException):
            made(Raises("on_train_batch_start", TERM, at=2), kept, plugins=AsyncCheckpointIO(Slow())).fit(
                Trains(), data(5)
            )
    finally:
        logging.getLogger("fulmen").removeHandler(handler)
    assert whole == [True]
    assert save_last is None or load("last.ckpt")["global_step"] == 3


def test_an_earlier_save_that_fails_in_the_background_does_not_prevent_the_last_one() -> None:
    io = AsyncCheckpointIO(Slow(failing="step=2"))
    trainer = made(Raises("on_train_batch_start", TERM, at=2), saves(every_n_train_steps=2), plugins=io)
    with pytest.warns(UserWarning, match=r"(?s)under way has failed.*Input/output"), pytest.raises(SIGTERMException):
        trainer.fit(Trains(), data(5))
    assert names() == ["step=3.ckpt"]


def test_a_last_save_that_fails_in_the_background_is_shown(caplog: Any) -> None:
    io = AsyncCheckpointIO(Slow(failing="step=3"))
    trainer = made(Raises("on_train_batch_start", TERM, at=2), saves(every_n_train_steps=2), plugins=io)
    with pytest.raises(SIGTERMException):
        trainer.fit(Trains(), data(5))
    assert names() == ["step=2.ckpt"]
    assert "saving has failed: " in caplog.text and "Input/output error" in caplog.text


# Handlers


def test_handlers_are_there_only_during_the_run() -> None:
    found: list[Any] = []

    def look() -> None:
        found.append([signal.getsignal(number) for number in (TERM, INT)])

    trainer = made(Raises("on_fit_start", then=look), Raises("on_sanity_check_start", then=look),
                   Raises("on_train_end", then=look), Raises("on_fit_end", then=look))  # fmt: skip
    trainer.fit(Both(), data(1), data(1))
    usual = [signal.SIG_DFL, signal.default_int_handler]
    assert found[0] == found[3] == usual
    assert found[1] == found[2] != usual


@pytest.mark.parametrize("how", ["a signal", "Ctrl-C twice", "an error"])
def test_handlers_are_put_back_whatever_happens(how: str) -> None:
    def fail() -> None:
        raise ValueError("boo")

    numbers = {"a signal": [TERM], "Ctrl-C twice": [INT, INT], "an error": []}[how]
    with pytest.raises((SIGTERMException, KeyboardInterrupt, ValueError)):
        made(Raises("on_train_batch_start", *numbers, then=fail if how == "an error" else lambda: None)).fit(
            Trains(), data(3)
        )
    assert [signal.getsignal(number) for number in (TERM, INT)] == [signal.SIG_DFL, signal.default_int_handler]


def test_earlier_handlers_are_called_and_put_back() -> None:
    heard: list[int] = []

    def handler(number: int, frame: Any) -> None:
        heard.append(number)

    for number in (TERM, INT):
        signal.signal(number, handler)
    try:
        with pytest.raises(SIGTERMException):
            made(Raises("on_train_batch_start", INT, TERM, at=1)).fit(Trains(), data(3))
        assert heard == [INT, TERM]
        assert signal.getsignal(TERM) is signal.getsignal(INT) is handler
    finally:
        signal.signal(TERM, signal.SIG_DFL)
        signal.signal(INT, signal.default_int_handler)


def test_what_is_ignored_stays_ignored() -> None:
    module = Trains()
    signal.signal(INT, signal.SIG_IGN)
    try:
        made(Raises("on_train_batch_start", INT)).fit(module, data(3))
        assert signal.getsignal(INT) is signal.SIG_IGN
    finally:
        signal.signal(INT, signal.default_int_handler)
    assert len(module.seen) == 3


def test_a_signal_while_handlers_are_put_back_is_obeyed(monkeypatch: Any) -> None:
    restore = Signals.restore

    def late(self: Signals) -> None:
        if not self.came:
            signal.raise_signal(TERM)
        restore(self)

    monkeypatch.setattr(Signals, "restore", late)
    with pytest.raises(SIGTERMException):
        made(saves(every_n_epochs=5)).fit(Trains(), data(2))
    assert names() == ["step=2.ckpt"]


def test_a_handler_that_came_during_the_run_stays() -> None:
    def handler(number: int, frame: Any) -> None: ...

    made(Raises("on_train_start", then=lambda: signal.signal(TERM, handler))).fit(Trains(), data(1))
    assert signal.signal(TERM, signal.SIG_DFL) is handler


def test_another_thread_trains_without_handlers() -> None:
    module, trainer = Trains(), made()
    found: list[Any] = []
    trainer.callbacks.append(Raises("on_train_start", then=lambda: found.append(signal.getsignal(TERM))))
    thread = threading.Thread(target=trainer.fit, args=(module, data(3)))
    thread.start()
    thread.join()
    assert len(module.seen) == 3
    assert found == [signal.SIG_DFL]


def test_evaluation_alone_has_no_handlers() -> None:
    found: list[Any] = []
    look = Raises("on_validation_start", then=lambda: found.append(signal.getsignal(TERM)))
    made(look).validate(Both(), data(1), verbose=False)
    assert found == [signal.SIG_DFL]


def test_a_signal_is_forgotten_in_the_next_run() -> None:
    module, trainer = Both(), made(Raises("on_train_batch_start", TERM))
    with pytest.raises(SIGTERMException):
        trainer.fit(module, data(3), data(2))
    trainer.validate(module, data(2), verbose=False)
    assert not trainer.received_sigterm
    assert not trainer.interrupted
    trainer.fit(module, data(3), data(1))
    assert [one for one in module.seen if one.startswith("train")][-3:] == ["train 0", "train 1", "train 2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("number", [TERM, INT])
def test_a_child_of_the_run_can_be_ended(number: int) -> None:
    """It has inherited the handler, but no loop that would obey."""
    status: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(number)
                os._exit(0)
            except KeyboardInterrupt:
                os._exit(7)
        status.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    module = Trains()
    made(Raises("on_train_batch_start", then=fork)).fit(module, data(2))
    assert status == [{TERM: -TERM, INT: 7}[signal.Signals(number)]]
    assert len(module.seen) == 2


# Several signals


def test_a_second_ctrl_c_stops_at_once(caplog: Any) -> None:
    after: list[str] = []
    module = Trains()
    with pytest.raises(KeyboardInterrupt):
        made(Raises("on_train_batch_start", INT, INT, at=1, then=lambda: after.append("went on")), saves()).fit(
            module, data(3)
        )
    assert module.seen == ["train 0"]
    assert after == []
    assert names() == []
    assert caplog.messages[-1] == "Ctrl-C: training stops here."


def test_a_second_sigterm_changes_nothing() -> None:
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM, TERM), saves()).fit(Trains(), data(3))
    assert names() == ["step=1.ckpt"]


@pytest.mark.parametrize("numbers", [(INT, TERM), (TERM, INT)])
def test_sigterm_outweighs_ctrl_c(numbers: tuple[int, int], caplog: Any) -> None:
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", *numbers), saves()).fit(Trains(), data(3))
    assert "SIGTERM: everything is saved" in caplog.text


def test_sigterm_during_the_save_of_ctrl_c_ends_the_program(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", INT), Raises("on_save_checkpoint", TERM), saves()).fit(Trains(), data(3))
    assert names() == ["step=1.ckpt"]


# At a prompt


def test_ctrl_c_at_a_prompt_gives_it_back(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    module, trainer = Trains(), made(Raises("on_train_batch_start", INT), saves())
    assert not trainer.interrupted
    trainer.fit(module, data(3))
    assert trainer.interrupted
    assert module.seen == ["train 0"]
    assert names() == ["step=1.ckpt"]
    trainer.callbacks = [saves()]
    trainer.fit(module, data(3), ckpt_path="saved/step=1.ckpt")
    assert not trainer.interrupted
    assert module.seen == ["train 0", "train 1", "train 2"]


def test_a_notebook_is_a_prompt(monkeypatch: Any) -> None:
    class IPython:
        shell: Any = object()

        @classmethod
        def get_ipython(cls) -> Any:
            return cls.shell

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    trainer = made(Raises("on_train_batch_start", INT))
    trainer.fit(Trains(), data(3))
    assert trainer.interrupted
    IPython.shell = None  # imported by a program
    with pytest.raises(KeyboardInterrupt):
        made(Raises("on_train_batch_start", INT)).fit(Trains(), data(3))


def test_sigterm_ends_also_a_prompt(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(SIGTERMException):
        made(Raises("on_train_batch_start", TERM)).fit(Trains(), data(3))
