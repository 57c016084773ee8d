"""What a Trainer does with its loggers besides handing them numbers: begin, hand out pictures and the like, end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.loggers import media
from fulmen.loggers.background import Background
from fulmen.loggers.background_logger import checked_x_axis
from fulmen.loggers.logger import DummyLogger, Logger, files_of
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def begin_logging(trainer: Trainer) -> None:
    """From now on, loggers write in the background.

    Raises:
        MisconfigurationException: If a logger has an x axis that there is not.
    """
    counted = False
    for logger in trainer.loggers:
        axis = getattr(logger, "x_axis", "step")
        if isinstance(axis, str):
            counted |= checked_x_axis(axis) in ("samples", "time")
        if isinstance(logger, Logger):
            logger.__dict__["_default_dir"] = trainer.default_root_dir
        for machine in _machines(logger):
            machine.begin()
    if counted and trainer.metrics.counter is None:
        from fulmen.callbacks.x_axis import XAxisCounter

        found = next((cb for cb in trainer.callbacks if isinstance(cb, XAxisCounter)), None)
        if found is None:
            found = XAxisCounter()
            trainer.callbacks = [found, *trainer.callbacks]
        trainer.metrics.counter = found


def agree_on_places(trainer: Trainer) -> None:
    """Has the loggers of all processes go by the folders that rank 0's have, so that a run has one folder."""
    strategy = trainer.strategy
    if strategy.world_size == 1:
        return
    kinds = [type(logger).__qualname__ for logger in trainer.loggers]
    places = [logger._place() if isinstance(logger, Logger) else None for logger in trainer.loggers]
    for logger, kind, (first, place) in zip(trainer.loggers, kinds, strategy.broadcast([*zip(kinds, places)])):
        if place is not None and kind == first and not strategy.is_global_zero:
            logger._take_place(place)


def end_logging(trainer: Trainer, status: str) -> None:
    """Ends a run for the loggers, which write what they still have.

    Args:
        trainer: Whose loggers.
        status: How the run ended; after ``"failed"``, nothing is raised any more.
    """
    if status == "success" and trainer.state.fn == TrainerFn.FITTING:
        _tell_of_silence(trainer)
    for logger in trainer.loggers:
        try:
            logger.finalize(status)
            for machine in _machines(logger):
                machine.finish(may_raise=status == "success")
        except Exception as failure:
            if status == "success":
                raise
            # the error that ended the run is the one to be mended
            rank_zero_warn(f"`{type(logger).__name__}.finalize` failed in turn: {failure!r}")


def _tell_of_silence(trainer: Trainer) -> None:
    """Says that values of single steps were logged, and that the run was too short for one of them to be written."""
    every, steps = trainer.metrics.log_every_n_steps, trainer.progress.windows
    if trainer.metrics.step_values and 0 < steps < every:
        rank_zero_info(
            f"The loggers have written no values of single steps: the run had {steps} steps, and every {every}th is "
            "written. Pass `Trainer(log_every_n_steps=1)` to have them all, or log with `on_epoch=True`."
        )


def _machines(logger: Any) -> list[Background]:
    """What a logger writes with in the background; of users' own, only what writes files for them."""
    if not isinstance(logger, Logger) or isinstance(logger, DummyLogger):
        return []
    return [machine] if isinstance(machine := files_of(logger).background, Background) else []


def hand_out(trainer: Trainer, form: str, key: str, step: int | None, given: tuple[Any, ...]) -> None:
    """Hands pictures and the like to all loggers.

    Args:
        trainer: Whose loggers.
        form: The function of ``loggers.media`` that makes items of what is given.
        key: What it is logged as.
        step: The step it belongs to; None for the present one.
        given: What that function takes.
    """
    loggers = [logger for logger in trainer.metrics.loggers if not isinstance(logger, DummyLogger)]
    if not loggers:
        return
    items = media.items_of(form, key, *given)
    if not items:
        return
    for logger in loggers:
        place = trainer.metrics.place(logger) if step is None else step
        if hasattr(logger, "log_media"):
            logger.log_media(key, items, place)
        else:  # it has the methods of a logger, but not the base
            files_of(logger).write(trainer.default_root_dir, key, items, place)
