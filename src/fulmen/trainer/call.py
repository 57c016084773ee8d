"""Calls hooks by their names, for libraries that bring loops of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.loops.watch import watch_hook
from fulmen.trainer.execute import call_setup, call_teardown, interrupted
from fulmen.utilities.imports import interactive

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def _call_and_handle_interrupt(trainer: Trainer, trainer_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function, and lets callbacks and loggers know where it fails."""
    try:
        return trainer_fn(*args, **kwargs)
    except BaseException as error:
        interrupted(trainer, error)
        if isinstance(error, KeyboardInterrupt) and interactive():
            return None
        raise


def _call_lightning_module_hook(
    trainer: Trainer, hook_name: str, *args: Any, pl_module: Any = None, **kwargs: Any
) -> Any:
    """Calls a hook of the module; what it logs belongs to that hook."""
    module = pl_module or trainer.lightning_module
    return None if module is None else _with_log(trainer, module, hook_name, *args, **kwargs)


def _call_lightning_datamodule_hook(trainer: Trainer, hook_name: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a hook of the data module, if there is one."""
    datamodule = trainer.datamodule
    return None if datamodule is None else watch_hook(trainer, datamodule, hook_name)(*args, **kwargs)


def _call_callback_hooks(
    trainer: Trainer, hook_name: str, *args: Any, monitoring_callbacks: bool | None = None, **kwargs: Any
) -> None:
    """Calls a hook of every callback, with the Trainer and the module in front."""
    for callback in trainer.callbacks:
        watches = any(base.__name__ in ("EarlyStopping", "Checkpoint") for base in type(callback).__mro__)
        if monitoring_callbacks in (None, watches):
            _with_log(trainer, callback, hook_name, trainer, trainer.lightning_module, *args, **kwargs)


def _with_log(trainer: Trainer, owner: Any, hook_name: str, *args: Any, **kwargs: Any) -> Any:
    book, before = trainer.logbook, trainer.logbook.hook
    book.enter(hook_name)
    try:
        return watch_hook(trainer, owner, hook_name)(*args, **kwargs)
    finally:
        book.enter(before)


def _call_strategy_hook(trainer: Trainer, hook_name: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a method of the strategy."""
    return getattr(trainer.strategy, hook_name)(*args, **kwargs)


def _call_setup_hook(trainer: Trainer) -> None:
    """Calls the hooks that make data and model ready."""
    assert trainer.state.fn is not None
    call_setup(trainer, trainer.lightning_module, trainer.state.fn)


def _call_teardown_hook(trainer: Trainer) -> None:
    """Calls the counterpart of what :func:`_call_setup_hook` calls."""
    assert trainer.state.fn is not None
    call_teardown(trainer, trainer.lightning_module, trainer.state.fn)


def _call_callbacks_state_dict(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """The states of all callbacks that have one."""
    states = {callback.state_key: callback.state_dict() for callback in trainer.callbacks}
    return {key: state for key, state in states.items() if state}


def _call_callbacks_on_save_checkpoint(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Calls that hook of every callback."""
    for callback in trainer.callbacks:
        callback.on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)


def _call_callbacks_on_load_checkpoint(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Calls that hook of every callback, where the checkpoint holds states of callbacks."""
    for callback in trainer.callbacks if checkpoint.get("callbacks") else ():
        callback.on_load_checkpoint(trainer, trainer.lightning_module, checkpoint)


def _call_callbacks_load_state_dict(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Gives every callback its state back."""
    states = checkpoint.get("callbacks") or {}
    for callback in trainer.callbacks:
        if callback.state_key in states:
            callback.load_state_dict(states[callback.state_key])
