from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.callbacks.model_summary import ModelSummary
from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar
from fulmen.callbacks.timer import Timer
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.loggers.logger import DummyLogger
from fulmen.trainer.parts import add_defaults, check_callbacks, checkpoints_last, make_loggers, of_kind
from fulmen.trainer.settings import Settings
from fulmen.utilities.exceptions import MisconfigurationException

from .test_flags import settled

OFF: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Plain(Callback): ...


class Derived(EarlyStopping): ...


def kinds(callbacks: list[Callback]) -> list[str]:
    return [type(callback).__name__ for callback in callbacks]


def made(given: Any = None, **flags: Any) -> list[Callback]:
    settings = settled(**flags)
    return add_defaults(check_callbacks(given, settings), settings)


def test_what_flags_ask_for_comes_after_the_users_and_checkpoints_last() -> None:
    assert kinds(made([Plain()])) == ["Plain", "TQDMProgressBar", "ModelSummary", "ModelCheckpoint"]
    assert kinds(made([ModelCheckpoint(), Plain()], enable_progress_bar=False)) == [
        "Plain",
        "ModelSummary",
        "ModelCheckpoint",
    ]
    assert kinds(made(max_time="00:00:01:00", **OFF)) == ["Timer"]


@pytest.mark.parametrize(
    ("own", "flags"),
    [
        (TQDMProgressBar(), {"enable_model_summary": False, "enable_checkpointing": False}),
        (ModelSummary(), {"enable_progress_bar": False, "enable_checkpointing": False}),
        (ModelCheckpoint(), {"enable_progress_bar": False, "enable_model_summary": False}),
        (Timer("00:00:01:00"), {**OFF, "max_time": "00:00:02:00"}),
    ],
)
def test_ones_own_takes_the_place_of_the_default(own: Callback, flags: dict[str, Any]) -> None:
    assert made(own, **flags) == [own]


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ({"barebones": True}, []),
        ({"fast_dev_run": True}, ["TQDMProgressBar", "ModelSummary"]),
        ({"enable_model_summary": False}, ["TQDMProgressBar", "ModelCheckpoint"]),
        (OFF, []),
    ],
)
def test_switched_off(flags: dict[str, Any], left: list[str]) -> None:
    assert kinds(made(**flags)) == left


@pytest.mark.parametrize(("hidden", "bar"), [(["tqdm"], ["RichProgressBar"]), (["tqdm", "rich"], [])])
def test_the_bar_that_is_installed(hidden: list[str], bar: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr("fulmen.trainer.parts.available", lambda package: package not in hidden)
    assert kinds(made(enable_model_summary=False, enable_checkpointing=False)) == bar


def test_given_alone_in_a_list_or_not_at_all() -> None:
    plain = Plain()
    for given in (plain, [plain], (plain,), iter([plain])):
        assert check_callbacks(given, settled()) == [plain]
    assert check_callbacks(None, settled()) == check_callbacks([], settled()) == []


def test_kinds_are_told_by_name_through_all_bases() -> None:
    derived = Derived("loss")
    assert of_kind([Plain(), derived], "EarlyStopping") == [derived]
    assert of_kind([derived], "Callback") == [derived]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (EarlyStopping, r"`EarlyStopping\(\.\.\.\)`, with parentheses"),
        (3, r"callbacks=\[ModelCheckpoint"),
        ("early", r"callbacks=\[ModelCheckpoint"),
        ([CSVLogger("logs")], r"logger=CSVLogger\("),
    ],
)
def test_what_is_no_callback(given: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        check_callbacks(given, settled())


def test_contradictions() -> None:
    for own, flag in ((ModelCheckpoint(), "enable_checkpointing"), (TQDMProgressBar(), "enable_progress_bar")):
        with pytest.raises(MisconfigurationException, match=f"Remove `{flag}=False` or the callback"):
            check_callbacks(own, settled(**{flag: False}))
        with pytest.raises(MisconfigurationException, match="Remove `barebones=True` or the callback"):
            check_callbacks(own, settled(barebones=True))
    with pytest.raises(MisconfigurationException, match="Remove all but one"):
        check_callbacks([TQDMProgressBar(), TQDMProgressBar()], settled())


def test_two_states_under_one_name() -> None:
    with pytest.raises(RuntimeError, match="give them different arguments"):
        checkpoints_last([EarlyStopping("a"), EarlyStopping("a")])
    several: list[Callback] = [EarlyStopping("a"), EarlyStopping("b"), Plain(), Plain()]
    assert checkpoints_last(several) == several


def loggers(given: Any, **flags: Any) -> list[Any]:
    return make_loggers(given, settled(**flags), "root")


def test_loggers_that_were_given() -> None:
    one, two = CSVLogger("a"), CSVLogger("b")
    assert loggers(one) == [one]
    assert loggers([one, two]) == loggers(iter([one, two])) == [one, two]
    assert loggers([]) == loggers(False) == []


@pytest.mark.parametrize("installed", [True, False])
def test_the_default_logger(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed:
        pytest.importorskip("tensorboard")
    monkeypatch.setattr("fulmen.loggers.event_package.available", lambda package: installed)
    for given in (None, True):
        (logger,) = loggers(given)
        assert type(logger).__name__ == ("TensorBoardLogger" if installed else "CSVLogger")
        assert Path(logger.save_dir) == Path("root")


def test_no_logger_where_none_is_wanted() -> None:
    assert loggers(None, barebones=True) == []
    assert [type(logger) for logger in loggers(CSVLogger("a"), fast_dev_run=True)] == [DummyLogger]
    assert loggers(False, fast_dev_run=True) == []


@pytest.mark.parametrize("given", [3, "csv", CSVLogger, [CSVLogger], [None], sys])
def test_what_is_no_logger(given: Any) -> None:
    with pytest.raises(TypeError, match=r"`Trainer\(logger=CSVLogger\(\"logs\"\)\)`"):
        loggers(given)


def test_settings_cannot_be_changed() -> None:
    settings: Settings = settled()
    with pytest.raises(AttributeError):
        settings.barebones = True  # type: ignore[misc]
