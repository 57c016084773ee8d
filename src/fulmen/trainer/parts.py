"""Makes the parts that a Trainer was not given: callbacks, loggers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.trainer.settings import Settings
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredType
from fulmen.utilities.imports import available

if TYPE_CHECKING:
    from fulmen.loggers.logger import Logger


def of_kind(callbacks: Iterable[Callback], kind: str) -> list[Callback]:
    """Callbacks with a base class of a name; nothing is imported to compare with."""
    return [cb for cb in callbacks if any(base.__name__ == kind for base in type(cb).__mro__)]


def check_callbacks(given: Any, settings: Settings) -> list[Callback]:
    """The user's callbacks, once they are known to fit the flags.

    Args:
        given: None, a callback, or several.
        settings: The flags.

    Returns:
        The callbacks as a list, checkpoints last.

    Raises:
        MisconfigurationException: If one of them contradicts a flag, or is no callback.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str)
    callbacks: list[Any] = list(given) if several else [] if given is None else [given]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise _no_callback(callback)
    _check_against_flags(callbacks, settings)
    return checkpoints_last(callbacks)


def _no_callback(given: Any) -> MisconfigurationException:
    fix = "`Trainer(callbacks=[ModelCheckpoint(...)])`; derive a class of your own from `fulmen.Callback`."
    if isinstance(given, type):
        fix = f"Make one of it: `{given.__name__}(...)`, with parentheses."
    elif hasattr(given, "log_metrics"):
        fix = f"Loggers have a flag of their own: `Trainer(logger={type(given).__name__}(...))`."
    return MisconfiguredType("`callbacks` takes instances of `Callback`.", got=_what(given), fix=fix)


def _what(given: Any) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"{type(given).__name__} {given!r}"[:200]


def add_defaults(given: list[Callback], settings: Settings) -> list[Callback]:
    """The callbacks of a Trainer: the user's, then those that its flags ask for, checkpoints last.

    Args:
        given: The user's.
        settings: The flags.

    Returns:
        The callbacks in the order in which they hear of events.
    """
    callbacks = list(given)
    display = settings.display
    if display.progress_bar and not of_kind(callbacks, "ProgressBar"):
        callbacks += _progress_bar()
    if display.model_summary and not of_kind(callbacks, "ModelSummary"):
        from fulmen.callbacks.model_summary import ModelSummary

        callbacks.append(ModelSummary())
    if settings.duration.max_time is not None and not of_kind(callbacks, "Timer"):
        from fulmen.callbacks.timer import Timer

        callbacks.append(Timer(duration=settings.duration.max_time, interval="step"))
    if display.checkpointing and not settings.fast_dev_run and not of_kind(callbacks, "Checkpoint"):
        from fulmen.callbacks.model_checkpoint import ModelCheckpoint

        callbacks.append(ModelCheckpoint())
    return checkpoints_last(callbacks)


def checkpoints_last(callbacks: list[Callback]) -> list[Callback]:
    """The same callbacks, those that save at the end: they save what all others have done.

    Raises:
        MisconfigurationException: If two of them keep their state under one name.
    """
    saving = of_kind(callbacks, "Checkpoint")
    ordered = [callback for callback in callbacks if callback not in saving] + saving
    _check_state_keys(ordered)
    return ordered


def _check_state_keys(callbacks: list[Callback]) -> None:
    keys = [cb.state_key for cb in callbacks if type(cb).state_dict is not Callback.state_dict]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise MisconfiguredRun(
            "Callbacks keep their state in a checkpoint under `state_key`, so each needs one of its own.",
            got=f"several callbacks with {sorted(twice)}",
            fix="Remove one, give them different arguments, or override `state_key`.",
        )


def _check_against_flags(callbacks: list[Callback], settings: Settings) -> None:
    for kind, flag, enabled in (
        ("ModelCheckpoint", "enable_checkpointing=False", settings.display.checkpointing),
        ("ProgressBar", "enable_progress_bar=False", settings.display.progress_bar),
    ):
        found = of_kind(callbacks, kind)
        if found and not enabled:
            flag = "barebones=True" if settings.barebones else flag
            raise MisconfigurationException(
                f"`{flag}` and a {type(found[0]).__name__} among `callbacks` contradict each other.",
                fix=f"Remove `{flag}` or the callback.",
            )
    bars = of_kind(callbacks, "ProgressBar")
    if len(bars) > 1:
        raise MisconfigurationException(
            "There can be one progress bar.",
            got=[type(bar).__name__ for bar in bars],
            fix="Remove all but one.",
        )


def _progress_bar() -> list[Callback]:
    if available("tqdm"):
        from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar

        return [TQDMProgressBar()]
    if available("rich"):
        from fulmen.callbacks.progress.rich_progress import RichProgressBar

        return [RichProgressBar()]
    return []


def make_loggers(given: Any, settings: Settings, folder: str) -> list[Logger]:
    """The loggers of a Trainer.

    Args:
        given: None or True for the default one, False for none, a logger, or several.
        settings: The flags.
        folder: Where the default logger writes.

    Returns:
        The loggers.

    Raises:
        MisconfigurationException: If something else was given.
    """
    if given is False or (given is None and settings.barebones):
        return []
    if settings.fast_dev_run:
        from fulmen.loggers.logger import DummyLogger

        return [DummyLogger()]
    if given is None or given is True:
        return [_default_logger(folder)]
    if getattr(type(given), "stands_for_several", False):
        given = list(given)
    several = isinstance(given, Iterable) and not isinstance(given, str) and not hasattr(given, "log_metrics")
    loggers = list(given) if several else [given]
    for logger in loggers:
        if isinstance(logger, type) or not hasattr(logger, "log_metrics"):
            raise MisconfiguredType(
                "`logger` is a logger, several of them, True or False.",
                got=_what(logger),
                fix='`Trainer(logger=CSVLogger("logs"))`.',
            )
    return loggers


def _default_logger(folder: str) -> Logger:
    from fulmen.loggers import event_package

    if event_package.is_there():
        from fulmen.loggers.tensorboard import TensorBoardLogger

        return TensorBoardLogger(save_dir=folder)
    from fulmen.loggers.csv_logs import CSVLogger

    return CSVLogger(save_dir=folder)
