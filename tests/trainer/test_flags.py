from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.trainer.flags import count, names_checked, parse_duration, settle
from fulmen.trainer.settings import Display, Duration, Limits, Optimization, Settings, Validation
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType

DEFAULTS: dict[str, Any] = {
    "fast_dev_run": False, "max_epochs": None, "min_epochs": None, "max_steps": -1, "min_steps": None,
    "max_time": None, "limit_train_batches": None, "limit_val_batches": None, "limit_test_batches": None,
    "limit_predict_batches": None, "overfit_batches": 0.0, "val_check_interval": None, "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": None, "log_every_n_steps": None, "enable_checkpointing": None,
    "enable_progress_bar": None, "enable_model_summary": None, "accumulate_grad_batches": 1,
    "exact_accumulation": True, "gradient_clip_val": None, "gradient_clip_algorithm": None, "detect_anomaly": False,
    "barebones": False, "logger": None, "profiler": None,
}  # fmt: skip


def settled(**flags: Any) -> Settings:
    return settle(**{**DEFAULTS, **flags})


def test_defaults() -> None:
    assert settled() == Settings(
        duration=Duration(None, None, -1, None, None),
        limits=Limits(1.0, 1.0, 1.0, 1.0, 0.0),
        validation=Validation(1.0, 1, 2),
        optimization=Optimization(1, True, None, None, False),
        display=Display(True, True, True, 50),
        fast_dev_run=0,
        barebones=False,
    )


def test_barebones_switches_off_what_is_not_training() -> None:
    settings = settled(barebones=True)
    assert settings.display == Display(False, False, False, 0)
    assert settings.validation.sanity_steps == 0
    settled(barebones=True, logger=False, enable_checkpointing=False, num_sanity_val_steps=0, log_every_n_steps=0)
    settled(barebones=True, logger=[])


@given(st.integers(1, 9))
def test_a_development_run_is_short_whatever_else_was_said(batches: int) -> None:
    settings = settled(
        fast_dev_run=batches, max_epochs=50, max_steps=1000, min_epochs=3, max_time="00:01:00:00",
        limit_val_batches=0.5, overfit_batches=0.25, val_check_interval=0.5, check_val_every_n_epoch=3,
        num_sanity_val_steps=5,
    )  # fmt: skip
    assert settings.duration == Duration(1, None, batches, None, None)
    assert settings.limits == Limits(batches, batches, batches, batches, 0.25)
    assert settings.validation == Validation(1.0, 1, 0)
    assert settled(fast_dev_run=True).fast_dev_run == 1


@pytest.mark.parametrize(
    ("flags", "duration"),
    [
        ({"max_steps": 5}, Duration(-1, None, 5, None, None)),
        ({"max_epochs": 3, "max_steps": 5}, Duration(3, None, 5, None, None)),
        ({"min_steps": 5}, Duration(None, 1, -1, 5, None)),
        ({"min_steps": 5, "min_epochs": 0}, Duration(None, 0, -1, 5, None)),
        ({"max_time": {"minutes": 2}}, Duration(-1, None, -1, None, timedelta(minutes=2))),
        ({"max_steps": None}, Duration(None, None, -1, None, None)),
        ({"max_epochs": -1}, Duration(-1, None, -1, None, None)),
    ],
)
def test_how_long(flags: dict[str, Any], duration: Duration) -> None:
    assert settled(**flags).duration == duration


LIMITS = ["limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches"]


@given(st.sampled_from(LIMITS), st.integers(0, 99) | st.floats(0.0, 1.0))
def test_numbers_and_fractions_of_batches(name: str, value: float) -> None:
    limits = settled(**{name: value}).limits
    field = {"overfit": "overfit"}.get(name.split("_")[0], name.split("_")[1])
    found = getattr(limits, field)
    assert (found, type(found)) == (value, type(value))


@given(st.sampled_from(LIMITS), st.integers(max_value=-1) | st.floats(1.0001, 1e6).filter(lambda x: not x.is_integer()))
def test_neither_number_nor_fraction(name: str, value: float) -> None:
    with pytest.raises(MisconfigurationException, match=rf"{name}={value!r}\n".replace("+", r"\+")):
        settled(**{name: value})


def test_whole_numbers_as_floats_and_what_is_no_number() -> None:
    limit = settled(limit_val_batches=2.0).limits.val
    assert (limit, type(limit)) == (2, int)
    for value in ("half", True, math.nan):
        with pytest.raises(MisconfigurationException, match="for a tenth"):
            settled(limit_train_batches=value)


@pytest.mark.parametrize("overfit", [3, 0.5])
def test_overfitting_limits_training_and_validation_alike(overfit: float) -> None:
    limits = settled(overfit_batches=overfit, limit_train_batches=9, limit_test_batches=7).limits
    assert limits == Limits(overfit, overfit, 7, 1.0, overfit)


@pytest.mark.parametrize(
    ("flags", "validation"),
    [
        ({"val_check_interval": 0.25}, Validation(0.25, 1, 2)),
        ({"val_check_interval": 100, "check_val_every_n_epoch": None}, Validation(100, None, 2)),
        ({"check_val_every_n_epoch": None}, Validation(1.0, None, 2)),
        ({"val_check_interval": "00:00:05:00"}, Validation(timedelta(minutes=5), 1, 2)),
        ({"val_check_interval": timedelta(hours=1)}, Validation(timedelta(hours=1), 1, 2)),
        ({"num_sanity_val_steps": -1}, Validation(1.0, 1, math.inf)),
        ({"num_sanity_val_steps": 0}, Validation(1.0, 1, 0)),
    ],
)
def test_when_to_validate(flags: dict[str, Any], validation: Validation) -> None:
    assert settled(**flags).validation == validation


@pytest.mark.parametrize("flag", ["checkpointing", "progress_bar", "model_summary"])
@pytest.mark.parametrize("value", [True, False])
def test_switches(flag: str, value: bool) -> None:
    assert getattr(settled(**{f"enable_{flag}": value}).display, flag) is value


@pytest.mark.parametrize(("given", "known"), [("norm", "norm"), ("VALUE", "value"), (None, None)])
def test_ways_to_clip(given: Any, known: Any) -> None:
    assert settled(gradient_clip_algorithm=given).optimization.clip_algorithm == known


@given(st.integers(-9, 9), st.integers(-3, 3))
def test_counts(value: int, least: int) -> None:
    if value >= least:
        assert count("flag", value, None, least) == value
    else:
        with pytest.raises(ValueError, match=rf"from {least} up.\nReceived: flag={value}"):
            count("flag", value, None, least)


def test_what_is_no_count() -> None:
    assert count("flag", None, 7, 0) == 7
    for value in (True, "3", 1.5, [1]):
        with pytest.raises(ValueError, match=r"Trainer\(flag=1\)`, for example"):
            count("flag", value, None, 0)
    with pytest.raises(ValueError, match=r"`Trainer\(flag=3\)`\.$"):
        count("flag", 3.0, None, 0)


def test_times() -> None:
    assert parse_duration("01:02:03:04", "max_time") == timedelta(days=1, hours=2, minutes=3, seconds=4)
    with pytest.raises(MisconfigurationException, match='max_time="00:12:00:00"'):
        parse_duration(5, "max_time")


class Takes:
    @names_checked
    def __init__(self, *, max_epochs: int = 1, min_epochs: int = 2) -> None:
        self.got = max_epochs, min_epochs


def test_names_are_checked_and_the_signature_stays() -> None:
    import inspect

    assert Takes(max_epochs=3).got == (3, 2)
    assert list(inspect.signature(Takes).parameters) == ["max_epochs", "min_epochs"]
    for wrong, advice in (
        ("max_epoch", "Did you mean `max_epochs`"),
        ("colour", "Its arguments are: max_epochs, min_epochs"),
    ):
        with pytest.raises(MisconfiguredType, match=advice):
            Takes(**{wrong: 3})
    with pytest.raises(MisconfiguredType, match=r"Received: Trainer\(3, 'x'\)"):
        Takes(3, "x")  # type: ignore[call-arg, arg-type]


def test_arguments_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning 2.6 reads these variables, too; what is passed goes before."""
    for name, value in (("MAX_EPOCHS", "3"), ("PROFILER", "simple"), ("NO_ARGUMENT", "1"), ("MIN_EPOCHS", "")):
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    trainer = Trainer(accelerator="cpu", logger=False)
    assert trainer.max_epochs == 3
    assert trainer.min_epochs is None
    assert type(trainer.profiler).__name__ == "SimpleProfiler"
    assert Trainer(accelerator="cpu", logger=False, max_epochs=4).max_epochs == 4
