"""The profiler of a Trainer: made from its flag, begun and ended with each stage. Imported only where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.profilers.passthrough import PassThroughProfiler
from fulmen.profilers.profiler import Profiler
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredType
from fulmen.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_NAMES = ("simple", "advanced", "pytorch")


def make_profiler(given: Any) -> Profiler:
    """The profiler that a Trainer was told to use.

    Args:
        given: A profiler or the name of one.

    Returns:
        The profiler.

    Raises:
        MisconfigurationException: If the name is unknown, or it is no profiler.
    """
    if isinstance(given, str):
        return _by_name(given)
    # Asked for what it does, so that a profiler written for another edition of this interface works too.
    missing = [name for name in ("profile", "setup", "describe", "teardown") if not hasattr(given, name)]
    if isinstance(given, type) or missing:
        name = given.__name__ if isinstance(given, type) else type(given).__name__
        raise MisconfiguredType(
            f"`profiler` is one of {_listed()}, or a `Profiler`.",
            got=f"the class {name}" if isinstance(given, type) else given,
            fix=f"Write `Trainer(profiler={name}())`, with parentheses."
            if isinstance(given, type) and not missing
            else '`Trainer(profiler="simple")`.',
        )
    profiler: Profiler = given
    return profiler


def _by_name(name: str) -> Profiler:
    if name.lower() == "simple":
        from fulmen.profilers.simple import SimpleProfiler

        return SimpleProfiler()
    if name.lower() == "advanced":
        from fulmen.profilers.advanced import AdvancedProfiler

        return AdvancedProfiler()
    if name.lower() == "pytorch":
        from fulmen.profilers.pytorch import PyTorchProfiler

        return PyTorchProfiler()
    raise MisconfigurationException(
        f"`profiler` is one of {_listed()}, or a `Profiler`.",
        got=repr(name),
        fix=did_you_mean(name, _NAMES) or '`Trainer(profiler="simple")`.',
    )


def _listed() -> str:
    return ", ".join(f'"{name}"' for name in _NAMES)


def wrapper_of(profiler: Profiler) -> Callable[[str, Callable[..., Any]], Callable[..., Any]] | None:
    """What puts a profiler around a function, given the action's name; None for one that does nothing.

    Args:
        profiler: The profiler.
    """
    if type(profiler) is PassThroughProfiler:
        return None

    def wrap(action_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def profiled(*args: Any, **kwargs: Any) -> Any:
            with profiler.profile(action_name):
                return function(*args, **kwargs)

        return profiled

    return wrap


def begin_profile(trainer: Trainer, module: LightningModule) -> None:
    """Tells the profiler of the stage that begins."""
    profiler = trainer.profiler
    profiler._lightning_module = module
    rank = trainer.local_rank if trainer.world_size > 1 else None
    assert trainer.state.fn is not None
    profiler.setup(stage=trainer.state.fn.value, local_rank=rank, log_dir=trainer.log_dir)


def end_profile(trainer: Trainer, report: bool) -> None:
    """Ends the profiler's stage.

    Args:
        trainer: The Trainer.
        report: Whether to show or save the report.
    """
    profiler = trainer.profiler
    if report:
        profiler.describe()
    profiler.teardown(stage=None if trainer.state.fn is None else trainer.state.fn.value)
    profiler._lightning_module = None
