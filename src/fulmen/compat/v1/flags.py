"""The Trainer's arguments of 1.x, and what they are today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.compat import v1
from fulmen.compat.v1.flag_devices import place
from fulmen.compat.v1.flag_tables import DEFAULTS, EARLIER, LOUD_NONE, QUIET, RENAMED, TODAY
from fulmen.compat.v1.hints import hint
from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def translate(
    trainer: Trainer, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Makes the Trainer's arguments of today out of those of 1.x; see ``fulmen.compat.v1.arguments``.

    What a run needs to know later is kept in the Trainer's ``_former``, by the name of the argument.
    """
    if given and not _may_be_logger(given[0]):
        return given, named
    named = {**_by_name(given, named), **named}
    former = {name: value for name, value in named.items() if name in v1.ARGUMENTS}
    _rename(named)
    today = {**TODAY, **EARLIER}
    for name in [name for name in named if name in today]:
        if _is_quiet(name, named[name]):
            del named[name]
        elif named[name] is not None or name == "weights_summary" or _gpu_is_there():
            hint(f"`Trainer({name}=...)`", today[name])
    former.update({name: named[name] for name in ("flush_logs_every_n_steps",) if name in named})
    trainer.__dict__["_former"] = former
    place(named)
    _read_values(named)
    _read_displays(named)
    _read_callbacks(named)
    for name in v1.ARGUMENTS:  # what is left of them is for the runs
        named.pop(name, None)
    return (), named


def _may_be_logger(value: Any) -> bool:
    return value is None or isinstance(value, (bool, list, tuple)) or hasattr(value, "log_metrics")


def _by_name(given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Arguments by position: the order of 1.9, or of 1.5 where that is spoken."""
    order = list(DEFAULTS[v1.version()])
    if len(given) > len(order):
        raise MisconfiguredType(
            f"Lightning {v1.version()}'s `Trainer` has {len(order)} arguments.",
            got=f"{len(given)} by position",
            fix="Pass them by name: `Trainer(max_epochs=10)`.",
        )
    found = dict(zip(order, given, strict=False))
    twice = found.keys() & named.keys()
    if twice:
        raise MisconfiguredType(
            f"Arguments of the Trainer by position are those of Lightning {v1.version()}, in its order.",
            got=f"{', '.join(sorted(twice))} by position and by name",
            fix="Pass all of them by name.",
        )
    if found:
        hint("`Trainer(...)` with arguments by position", "pass them by name: `Trainer(max_epochs=10)`.")
    defaults = DEFAULTS[v1.version()]
    return {name: value for name, value in found.items() if name == "gpus" or not same(value, defaults[name])}


def same(value: Any, other: Any) -> bool:
    """Whether two values are one: 0 is not False, and 1 not True."""
    return value is other or (type(value) is type(other) and isinstance(value, (int, float, str)) and value == other)


def _is_quiet(name: str, value: Any) -> bool:
    if value is None:
        return name not in LOUD_NONE
    return any(same(value, quiet) for quiet in QUIET.get(name, ()))


def _gpu_is_there() -> bool:
    from fulmen.accelerators.devices import current_type

    return current_type() not in (None, "cpu")


def _rename(named: dict[str, Any]) -> None:
    for name in [name for name in named if name in RENAMED]:
        value = named.pop(name)
        if value is not None and not _is_quiet(name, value):
            hint(f"`Trainer({name}=...)`", f"`{RENAMED[name]}=...`.")
            if named.get(RENAMED[name]) is None:
                named[RENAMED[name]] = value


def _read_values(named: dict[str, Any]) -> None:
    """Arguments that are still there, with values of 1.x."""
    if named.get("max_steps", -1) is None:
        named["max_steps"] = -1
    if isinstance(named.get("overfit_batches"), bool):
        named["overfit_batches"] = 1 if named["overfit_batches"] else 0.0
    if isinstance(named.get("profiler"), bool):
        hint("`Trainer(profiler=True)`", '`profiler="simple"`.')
        named["profiler"] = "simple" if named["profiler"] else None
    if named.pop("reload_dataloaders_every_epoch", False):
        named["reload_dataloaders_every_n_epochs"] = 1
    mode = named.get("multiple_trainloader_mode", "min_size")
    if mode not in ("min_size", "max_size"):
        raise MisconfiguredValue(
            '`multiple_trainloader_mode` is "max_size_cycle" or "min_size".',
            got=f"multiple_trainloader_mode={mode!r}",
            fix=f"Choose one of them, or pass {TODAY['multiple_trainloader_mode']}",
        )


def _read_displays(named: dict[str, Any]) -> None:
    """What is shown of a run, and what is saved."""
    if isinstance(named.get("checkpoint_callback"), bool):
        checkpoints = named.pop("checkpoint_callback")
        named["enable_checkpointing"] = checkpoints and named.get("enable_checkpointing") is not False
    if named.get("progress_bar_refresh_rate") == 0:
        named["enable_progress_bar"] = False
    if "weights_summary" in named:
        summary = named["weights_summary"]
        if summary is None:
            named["enable_model_summary"] = False
        elif summary != "full":
            raise MisconfiguredValue(
                '`weights_summary` is None, "top" or "full".',
                got=f"weights_summary={summary!r}",
                fix=f"Write {TODAY['weights_summary']}",
            )


def _read_callbacks(named: dict[str, Any]) -> None:
    """Arguments that are callbacks today."""
    from collections.abc import Iterable

    from fulmen.compat.v1.flag_callbacks import callbacks_of

    present = named.get("callbacks")
    several = isinstance(present, Iterable) and not isinstance(present, str)
    found: list[Any] = list(present) if several else [] if present is None else [present]  # type: ignore[arg-type]
    added = callbacks_of(named, found)
    if added:
        named["callbacks"] = found + added
