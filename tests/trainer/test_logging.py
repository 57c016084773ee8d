"""A Trainer and its loggers: in the background of a run, with pictures and the like, over an x axis of choice."""

from __future__ import annotations

import csv
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit

from fulmen.callbacks.lr_monitor import LearningRateMonitor
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.callbacks.x_axis import XAxisCounter
from fulmen.loggers.background import LoggingFailedError
from fulmen.loggers.background_logger import BackgroundLogger
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.loggers.logger import Logger
from fulmen.loggers.tensorboard import TensorBoardLogger
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only


class Logging(Net):
    """Logs the loss."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


class Validated(Logging):
    """Logs a value of validation, too."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", 1.0)


class Own(Logger):
    """A logger of a user, which knows nothing of backgrounds, media or axes."""

    name = version = None

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.saves = 0
        self.threads: set[int] = set()

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.threads.add(threading.get_ident())
        self.rows.append((step, set(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def save(self) -> None:
        self.saves += 1


class Remote(BackgroundLogger):
    """Stands for a logger with a server."""

    name, version = "remote", None

    def __init__(self, delay: float = 0, fails_at: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.delay, self.fails_at = delay, fails_at
        self.received: list[Any] = []
        self.ended: list[str] = []
        self.threads: set[int] = set()

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self._background.gather(self._send, (dict(metrics), step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def _send(self, records: list[Any]) -> None:
        self.threads.add(threading.get_ident())
        time.sleep(self.delay)
        while records:
            if len(self.received) == self.fails_at:
                raise ConnectionResetError("the server is gone")
            self.received.append(records[0])
            del records[0]

    def _end(self, status: str) -> None:
        self.ended.append(status)


def rows(logger: CSVLogger, name: str) -> list[float]:
    with open(Path(logger.log_dir, "metrics.csv"), newline="") as file:
        return [float(row["step"]) for row in csv.DictReader(file) if row.get(name)]


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(trainer.lightning_module.parameters())


def run(*loggers: Any, batches: int = 6, **flags: Any) -> Trainer:
    torch.manual_seed(0)
    flags = {"log_every_n_steps": 1, "logger": list(loggers), **flags}
    return fit(Validated(), data(batches), data(2), **flags)


def test_a_logger_writes_in_another_thread_and_has_everything_when_fit_returns() -> None:
    logger, own = Remote(delay=0.05), Own()
    run(logger, own)
    assert threading.get_ident() not in logger.threads
    assert own.threads == {threading.get_ident()}
    assert [(step, set(metrics)) for metrics, step in logger.received] == own.rows
    assert len(own.rows) == 7
    assert own.saves == 9, "after each row, at the start and at the end"
    assert logger.ended == ["success"]


def test_a_server_that_is_gone_is_told_of_once_and_training_is_the_same() -> None:
    expected = weights(run())
    logger, other = Remote(fails_at=2), Remote()
    with pytest.warns(UserWarning, match="the server is gone") as caught:
        found = weights(run(logger, other, max_epochs=3))
    assert len(caught) == 1
    assert len(logger.received) == 2
    assert len(other.received) == 21
    assert logger.ended == []
    assert torch.equal(weights(run(max_epochs=3)), found)
    assert not torch.equal(expected, found)


def test_a_server_that_is_gone_ends_the_run_where_that_was_asked_for() -> None:
    logger, other = Remote(fails_at=0, on_failure="raise"), Remote()
    with pytest.raises(LoggingFailedError, match="the server is gone"):
        run(logger, other)
    assert other.ended == ["failed"]
    assert not logger._background.is_on


def test_a_failed_run_still_writes_what_it_logged() -> None:
    class Failing(Logging):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 4:
                raise ValueError("mine")
            return super().training_step(batch, batch_idx)

    logger = Remote(delay=0.2)
    with pytest.raises(ValueError, match="mine"):
        fit(Failing(), data(6), logger=logger, log_every_n_steps=1)
    assert len(logger.received) == 4
    assert logger.ended == ["failed"]


def test_a_slow_server_at_the_end_is_waited_for_no_longer_than_asked() -> None:
    logger = Remote(delay=0.3, drain_timeout=0)
    with pytest.warns(UserWarning, match=r"Remote has not written [67] records.*longer `drain_timeout` than 0"):
        run(logger)
    assert logger._background.drain(30) == 0
    assert len(logger.received) == 7


def test_a_logger_of_a_user_s_that_fails_raises() -> None:
    class Failing(Own):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        run(Failing())


def test_a_finalize_that_fails_leaves_the_first_error() -> None:
    class Failing(Own):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            raise OSError("mine")

        def finalize(self, status: str) -> None:
            raise ValueError("second")

    other = Remote()
    with pytest.warns(UserWarning, match="failed in turn"), pytest.raises(OSError, match="mine"):
        run(Failing(), other)
    assert other.ended == ["failed"]


def test_a_user_s_save_is_called_and_one_by_hand_waits(tmp_path: Path) -> None:
    class Saving(CSVLogger):
        saves = 0

        def save(self) -> None:
            super().save()
            self.saves += 1

    class Looking(Logging):
        def on_train_batch_end(self, *args: Any) -> None:
            self.logger.log_metrics({"mine": 1.0}, self.global_step)
            self.logger.save()
            seen.append(len(rows(self.logger, "mine")))

    seen: list[int] = []
    logger = Saving(tmp_path)
    torch.manual_seed(0)
    fit(Looking(), data(4), logger=logger)
    assert seen == [1, 2, 3, 4]
    assert logger.saves >= 4


@pytest.mark.parametrize(
    ("axis", "training", "validation"),
    [("step", [0, 1, 2, 3], [2, 4]), ("epoch", [0, 0, 1, 1], [0, 1]), ("samples", [3, 6, 9, 12], [6, 12])],
)
def test_an_x_axis_of_choice(tmp_path: Path, axis: Any, training: list[int], validation: list[int]) -> None:
    logger, own = CSVLogger(tmp_path, x_axis=axis), Own()
    own.x_axis = axis
    loader = data(2, size=3)
    flags = {
        "logger": [logger, own],
        "log_every_n_steps": 1,
        "max_epochs": 2,
        "callbacks": [LearningRateMonitor("step")],
    }
    fit(Validated(), loader, data(1), **flags)
    assert rows(logger, "loss") == training
    expected = validation if axis != "step" else [1, 3]
    assert rows(logger, "val") == expected
    assert [step for step, names in own.rows if "loss" in names] == training
    assert [step for step, names in own.rows if "val" in names] == expected
    starts = {"step": [0, 1, 2, 3], "epoch": [0, 0, 1, 1], "samples": [0, 3, 6, 9]}
    assert rows(logger, "lr-SGD") == starts[axis]


def test_time_as_an_x_axis_goes_on(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, x_axis="time")
    run(logger)
    places = rows(logger, "loss")
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] < 60


def test_counts_go_on_with_a_run(tmp_path: Path) -> None:
    save = ModelCheckpoint(tmp_path / "c", save_last=True)
    first = run(CSVLogger(tmp_path, x_axis="samples"), enable_checkpointing=True, callbacks=[save])
    seconds = first.metrics.counter.seconds if first.metrics.counter else 0
    logger = CSVLogger(tmp_path, x_axis="samples")
    flags = {"max_epochs": 2, "logger": logger, "log_every_n_steps": 1, "enable_checkpointing": True}
    trainer = Trainer(**{**QUIET, **flags}, callbacks=[ModelCheckpoint(tmp_path / "c", save_last=True)])
    trainer.fit(Logging(), data(6), ckpt_path=str(tmp_path / "c" / "last.ckpt"))
    assert rows(logger, "loss") == [14, 16, 18, 20, 22, 24]
    assert trainer.metrics.counter is not None
    assert trainer.metrics.counter.seconds >= seconds


def test_only_loggers_that_ask_for_counts_pay_for_them() -> None:
    assert not any(isinstance(cb, XAxisCounter) for cb in run(Own()).callbacks)


def test_an_axis_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="x_axis='samples'"):
        CSVLogger(tmp_path, x_axis="sample")  # type: ignore[arg-type]
    own = Own()
    own.x_axis = "tiem"  # type: ignore[assignment]
    with pytest.raises(MisconfigurationException, match="x_axis='time'"):
        run(own)


def test_samples_need_a_batch_of_tensors() -> None:
    class Words(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self(torch.ones(2)).sum()

    own = Own()
    own.x_axis = "samples"
    with pytest.raises(MisconfigurationException, match='x_axis="step"'):
        fit(Words(), [["a", "b"]], logger=own)


class Showing(Logging):
    """Logs something of every kind."""

    def on_train_epoch_end(self) -> None:
        trainer = self.trainer
        trainer.log_image("images/first", torch.rand(3, 8, 8))
        trainer.log_image("several", torch.rand(2, 3, 8, 8), step=5)
        trainer.log_table("table", columns=["a", "b"], data=[[1, 2], [3, 4]])
        trainer.log_text("text", "**bold**")
        trainer.log_audio("sound", torch.rand(100), sample_rate=8000)
        trainer.log_video("video", torch.rand(3, 3, 8, 8))
        trainer.log_histogram("weights", self.layer.weight)


FILES = [
    "images/first/step_00000006.png",
    "several/step_00000005_0.png",
    "several/step_00000005_1.png",
    "sound/step_00000006.wav",
    "table/step_00000006.csv",
    "text/step_00000006.md",
    "video/step_00000006.png",
    "weights/step_00000006.json",
]


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())


def test_everything_can_be_logged_with_every_logger(tmp_path: Path) -> None:
    mine, csv_logger = Own(), CSVLogger(tmp_path / "csv")
    fit(Showing(), data(6), logger=[mine, csv_logger], default_root_dir=tmp_path / "root")
    assert listed(tmp_path / "root" / "media") == FILES
    assert listed(Path(csv_logger.log_dir, "media")) == FILES
    assert (tmp_path / "root/media/text/step_00000006.md").read_text() == "**bold**"


def test_tensorboard_shows_everything(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path)
    fit(Showing(), data(6), logger=logger, log_every_n_steps=1)
    events = accumulator.EventAccumulator(logger.log_dir, {"images": 0, "audio": 0, "tensors": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["images/first", "several", "several/1", "video"]
    assert tags["audio"] == ["sound"]
    assert tags["histograms"] == ["weights"]
    assert [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3, 4, 5]
    (image,) = events.Images("images/first")
    assert (image.step, image.width, image.height) == (6, 8, 8)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    (sound,) = events.Audio("sound")
    assert (sound.sample_rate, sound.length_frames, sound.encoded_audio_string[:4]) == (8000, 100, b"RIFF")
    (text,) = events.Tensors("text/text_summary")
    assert text.tensor_proto.string_val == [b"**bold**"]
    (table,) = events.Tensors("table/text_summary")
    assert table.tensor_proto.string_val == [b"| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"]


@pytest.mark.parametrize("flags", [{"logger": False}, {"fast_dev_run": True}])
def test_without_loggers_nothing_is_written(tmp_path: Path, flags: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(Showing(), data(6), **flags)
    assert listed(tmp_path) == []


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    logger = CSVLogger(tmp_path)
    logger.log_text("a", "b")
    logger.log_image("a", torch.rand(3, 8, 8))
    assert listed(tmp_path) == []


def test_a_logger_of_the_user_s_may_take_what_it_can(tmp_path: Path) -> None:
    class Texts(Own):
        def __init__(self) -> None:
            super().__init__()
            self.texts: list[Any] = []

        def log_media(self, key: str, items: Any, step: Any = None) -> None:
            if items[0].kind == "text":
                self.texts += [(key, item.text, step) for item in items]
            else:
                super().log_media(key, items, step)

    logger = Texts()
    fit(Showing(), data(6), logger=logger, default_root_dir=tmp_path)
    assert logger.texts == [("text", "**bold**", 6)]
    assert listed(tmp_path / "media") == [name for name in FILES if not name.startswith("text")]


def test_by_hand_files_are_numbered_where_no_step_is_given(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    for text in ("a", "b"):
        logger.log_text('odd<>:"|?* name/x', text)
    folder = Path(logger.log_dir, "media", "odd_______ name", "x")
    assert listed(folder) == ["00000000.md", "00000001.md"]
    figure = pytest.importorskip("matplotlib.pyplot").figure()
    logger.log_figure("figure", figure, 3, close=True)
    assert listed(Path(logger.log_dir, "media", "figure")) == ["step_00000003.png"]
    assert not pytest.importorskip("matplotlib.pyplot").get_fignums()


def test_numbers_go_to_all_loggers(tmp_path: Path) -> None:
    class Sending(Logging):
        def on_train_start(self) -> None:
            self.trainer.log_metrics({"mine": 2.0})
            self.trainer.log_metrics({"mine": 2.0}, step=7)

    own, other = Own(), CSVLogger(tmp_path)
    fit(Sending(), data(1), logger=[own, other])
    assert own.rows == [(0, {"mine"}), (7, {"mine"})]
    assert rows(other, "mine") == [0, 7]


@pytest.mark.parametrize(("every", "said"), [(50, True), (4, False), (0, False)])
def test_a_run_that_was_too_short_for_its_step_values_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, every: int, said: bool
) -> None:
    with caplog.at_level("INFO", logger="fulmen"):
        fit(Logging(), data(4), logger=CSVLogger(tmp_path), log_every_n_steps=every, max_epochs=1)
    assert ("Pass `Trainer(log_every_n_steps=1)`" in caplog.text) is said


class OddItems(Logging):
    """Logs, beside the loss, what no logger can write."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer = self.trainer
        if batch_idx == 2:
            trainer.log_audio("an empty clip", torch.zeros(0), sample_rate=8000)
            trainer.log_video("an empty film", torch.zeros(0, 3, 8, 8, dtype=torch.uint8))
            trainer.log_video("a fast film", torch.zeros(2, 3, 8, 8, dtype=torch.uint8), fps=240)
            trainer.log_text("odd text", "half of \ud800 a pair")
            trainer.log_image("k" * 300, torch.rand(3, 8, 8))
            trainer.log_histogram("alike", torch.tensor([3e38, 3e38]))
            trainer.log_table("worse", columns=["a"], data=[[Unspeakable()]])


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words for it")


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_an_item_that_cannot_be_written_leaves_the_logger_on(kind: Any, tmp_path: Path) -> None:
    logger = kind(tmp_path)
    with pytest.warns(UserWarning) as caught:
        fit(OddItems(), data(6), logger=logger, log_every_n_steps=1, max_epochs=2)
    said = [str(one.message) for one in caught]
    assert not [one for one in said if "switched off" in one]
    assert len([one for one in said if "left out the table that was logged as 'worse'" in one]) == 1
    if kind is CSVLogger:
        assert rows(logger, "loss") == list(range(12))
        files = listed(Path(logger.log_dir, "media"))
        assert len(files) == 8, files
        assert "half of ? a pair" in Path(logger.log_dir, "media", "odd text", "step_00000002.md").read_text()
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(logger.log_dir, {"histograms": 0}).Reload()
        assert [event.step for event in found.Scalars("loss")] == list(range(12))
        assert len(found.Histograms("alike")) == 2
