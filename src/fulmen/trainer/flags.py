"""Where all flags of the Trainer meet, conflict and get their defaults: one pure function."""

from __future__ import annotations

import math
import os
from ast import literal_eval
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from fulmen.trainer.settings import Display, Duration, Limits, Optimization, Settings, Validation
from fulmen.utilities.enums import GradClipAlgorithmType
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType, MisconfiguredValue
from fulmen.utilities.generations import older

P = ParamSpec("P")
T = TypeVar("T")


def names_checked(init: Callable[P, T]) -> Callable[P, T]:
    """Makes an unknown argument name the one that was probably meant."""
    known = [name for name in signature(init).parameters if name != "self"]

    @wraps(init)
    def checked(*given: Any, **kwargs: Any) -> T:
        trainer, args = given[0], given[1:]
        generation = older()
        kwargs = {**from_environment([*known, *(generation.ARGUMENTS if generation else ())]), **kwargs}
        if generation is not None:
            args, kwargs = generation.arguments(trainer, args, kwargs)
        if args:
            raise MisconfiguredType(
                "`Trainer` takes its arguments by name.",
                got=f"Trainer({', '.join(repr(value) for value in args)})",
                fix='`Trainer(max_epochs=10, accelerator="cpu")`, for example.',
            )
        for name in kwargs:
            if name not in known:
                from fulmen.utilities.suggest import closest

                near = closest(name, known)
                meant = f"`{near}`" if near else ""
                raise MisconfiguredType(
                    f"`Trainer` has no argument {name!r}.",
                    got=f"{name}={kwargs[name]!r}",
                    fix=f"Did you mean {meant}?" if meant else f"Its arguments are: {', '.join(known)}.",
                )
        made = init(trainer, **kwargs)
        if generation is not None:
            generation.made(trainer)
        return made

    return checked


def from_environment(names: Iterable[str]) -> dict[str, Any]:
    """Arguments of the Trainer that variables of the environment give, such as ``PL_TRAINER_MAX_EPOCHS``.

    Args:
        names: The arguments that there are.
    """
    prefix = "PL_TRAINER_"
    if not any(variable.startswith(prefix) for variable in os.environ):
        return {}
    texts = {name: os.environ.get(prefix + name.upper()) for name in names}
    return {name: _read(text) for name, text in texts.items() if text}


def _read(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def settle(
    *,
    fast_dev_run: int | bool,
    max_epochs: int | None,
    min_epochs: int | None,
    max_steps: int,
    min_steps: int | None,
    max_time: Any,
    limit_train_batches: int | float | None,
    limit_val_batches: int | float | None,
    limit_test_batches: int | float | None,
    limit_predict_batches: int | float | None,
    overfit_batches: int | float,
    val_check_interval: Any,
    check_val_every_n_epoch: int | None,
    num_sanity_val_steps: int | None,
    log_every_n_steps: int | None,
    enable_checkpointing: bool | None,
    enable_progress_bar: bool | None,
    enable_model_summary: bool | None,
    accumulate_grad_batches: int,
    exact_accumulation: bool,
    gradient_clip_val: int | float | None,
    gradient_clip_algorithm: str | None,
    detect_anomaly: bool,
    barebones: bool,
    logger: Any,
    profiler: Any,
) -> Settings:
    """Resolves the flags that are plain values; their meaning is that of ``Trainer``'s arguments.

    Returns:
        The settings.

    Raises:
        MisconfigurationException: If a value is out of range or two flags contradict each other.
    """
    if barebones:
        _refuse_with_barebones(
            logger=logger, enable_checkpointing=enable_checkpointing, enable_progress_bar=enable_progress_bar,
            enable_model_summary=enable_model_summary, num_sanity_val_steps=num_sanity_val_steps,
            fast_dev_run=fast_dev_run, detect_anomaly=detect_anomaly, profiler=profiler,
            log_every_n_steps=log_every_n_steps,
        )  # fmt: skip
    fast = _fast_dev_run(fast_dev_run)
    limits = _limits(
        fast, overfit_batches, limit_train_batches, limit_val_batches, limit_test_batches, limit_predict_batches
    )
    shown = not barebones
    return Settings(
        duration=_duration(fast, max_epochs, min_epochs, max_steps, min_steps, max_time),
        limits=limits,
        validation=_validation(fast, barebones, val_check_interval, check_val_every_n_epoch, num_sanity_val_steps),
        optimization=_optimization(
            accumulate_grad_batches, exact_accumulation, gradient_clip_val, gradient_clip_algorithm, detect_anomaly
        ),
        display=Display(
            progress_bar=shown if enable_progress_bar is None else enable_progress_bar,
            model_summary=shown if enable_model_summary is None else enable_model_summary,
            checkpointing=shown if enable_checkpointing is None else enable_checkpointing,
            log_every_n_steps=count("log_every_n_steps", log_every_n_steps, 50 if shown else 0, least=0),
        ),
        fast_dev_run=fast,
        barebones=barebones,
    )


def _refuse_with_barebones(**flags: Any) -> None:
    wanted = [f"{name}={value!r}" for name, value in flags.items() if value is not None and value is not False]
    wanted = [flag for flag in wanted if flag not in ("num_sanity_val_steps=0", "log_every_n_steps=0", "logger=[]")]
    if wanted:
        raise MisconfiguredValue(
            "`barebones=True` switches off everything that is not training.",
            got=", ".join(wanted),
            fix=f"Leave out {', '.join(flag.partition('=')[0] for flag in wanted)}, or `barebones`.",
        )


def parse_duration(given: Any, name: str) -> timedelta:
    """Reads a time: a ``timedelta``, its arguments as a dict, or a string such as ``"DD:HH:MM:SS"``."""
    from fulmen.utilities.interval import Interval

    interval = Interval.parse(given, name)
    if interval.unit != "seconds":
        raise MisconfigurationException(
            f"`{name}` is a time here.", got=given, fix=f'`Trainer({name}="00:12:00:00")` for twelve hours.'
        )
    return timedelta(seconds=interval.seconds)


def _fast_dev_run(value: int | bool) -> int:
    if not isinstance(value, (int, bool)) or value < 0:
        raise MisconfigurationException(
            "`fast_dev_run` is True, False or a number of batches.",
            got=f"fast_dev_run={value!r}",
            fix="`fast_dev_run=True` runs one batch.",
        )
    return int(value)


def count(name: str, value: Any, default: int | None, least: int) -> Any:
    """Reads a flag that counts something.

    Args:
        name: The flag.
        value: What was given.
        default: What None stands for.
        least: The smallest count.

    Returns:
        The count.

    Raises:
        MisconfigurationException: If it is none.
    """
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        whole = isinstance(value, float) and value.is_integer() and value >= least
        raise MisconfiguredValue(
            f"`{name}` is an int from {least} up.",
            got=f"{name}={value!r}",
            fix=f"`Trainer({name}={int(value) if whole else max(least, 1)})`" + ("." if whole else ", for example."),
        )
    return value


def _duration(
    fast: int, max_epochs: int | None, min_epochs: int | None, max_steps: int, min_steps: int | None, max_time: Any
) -> Duration:
    count("max_epochs", max_epochs, None, least=-1)
    max_steps = count("max_steps", max_steps, -1, least=-1)
    count("min_epochs", min_epochs, None, least=0)
    count("min_steps", min_steps, None, least=0)
    if fast:
        return Duration(1, None, fast, None, None)
    time = None if max_time is None else parse_duration(max_time, "max_time")
    if max_epochs is None and (max_steps != -1 or time is not None):
        max_epochs = -1
    if min_steps is not None and min_epochs is None:
        min_epochs = 1
    return Duration(max_epochs, min_epochs, max_steps, min_steps, time)


def _fraction(name: str, value: int | float | None) -> int | float:
    if value is None:
        return 1.0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return value
    if isinstance(value, float) and value > 1 and value.is_integer():
        return int(value)
    raise MisconfigurationException(
        f"`{name}` is an int from 0 up, a number of batches, or a float from 0.0 to 1.0, a fraction of them.",
        got=f"{name}={value!r}",
        fix=f"`Trainer({name}=10)` for ten batches, `Trainer({name}=0.1)` for a tenth.",
    )


def _limits(fast: int, overfit: int | float, *given: int | float | None) -> Limits:
    names = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches")
    train, val, test, predict = (_fraction(name, value) for name, value in zip(names, given, strict=True))
    overfit = _fraction("overfit_batches", overfit)
    if fast:
        return Limits(fast, fast, fast, fast, overfit)
    if overfit > 0:
        train = val = overfit
    return Limits(train, val, test, predict, overfit)


def _validation(fast: int, barebones: bool, interval: Any, every: int | None, sanity: int | None) -> Validation:
    every = count("check_val_every_n_epoch", every, None, least=1)
    sanity = count("num_sanity_val_steps", sanity, 0 if barebones else 2, least=-1)
    if fast:
        return Validation(1.0, 1, 0)
    if isinstance(interval, (str, dict, timedelta)):
        interval = parse_duration(interval, "val_check_interval")
    elif interval is None:
        interval = 1.0  # at the end of each epoch, however batches are counted
    else:
        interval = _fraction("val_check_interval", interval)
        if interval == 0:
            raise MisconfigurationException(
                "`val_check_interval` is more than 0.",
                got=f"val_check_interval={interval}",
                fix="`limit_val_batches=0` switches validation off; `val_check_interval=1` validates after each batch.",
            )
        if isinstance(interval, float) and every is None:
            raise MisconfigurationException(
                "With `check_val_every_n_epoch=None` validation counts batches across epochs, so a fraction of an "
                "epoch means nothing.",
                got=f"val_check_interval={interval}",
                fix="Give a number of batches: `val_check_interval=100, check_val_every_n_epoch=None`.",
            )
    return Validation(interval, every, math.inf if sanity == -1 else sanity)


def _optimization(
    accumulate: int, exact: bool, clip: int | float | None, algorithm: str | None, anomaly: bool
) -> Optimization:
    count("accumulate_grad_batches", accumulate, 1, least=1)
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float))):
        raise MisconfiguredType(
            "`gradient_clip_val` is an int or a float.", got=clip, fix="`Trainer(gradient_clip_val=1.0)`."
        )
    if algorithm is not None and not GradClipAlgorithmType.supported_type(str(algorithm).lower()):
        raise MisconfigurationException(
            f"`gradient_clip_algorithm` is one of {GradClipAlgorithmType.supported_types()}.",
            got=algorithm,
            fix='`Trainer(gradient_clip_val=1.0, gradient_clip_algorithm="norm")`.',
        )
    if not isinstance(anomaly, bool):
        raise MisconfiguredType(
            "`detect_anomaly` is True or False.", got=anomaly, fix="`Trainer(detect_anomaly=True)`."
        )
    return Optimization(accumulate, exact, clip, GradClipAlgorithmType.from_str(str(algorithm)), anomaly)
