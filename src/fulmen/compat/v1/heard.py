"""What of 1.x a user's object has: its own methods, and what these take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fulmen.utilities.generations import stand_in

# A method of these names that a hook of today calls is the user's own: it would run twice.
_ENDS = ("train", "validation", "test")
_CALLERS: dict[str, tuple[str, ...]] = {
    "on_epoch_start": tuple(f"on_{stage}_epoch_start" for stage in _ENDS),
    "on_epoch_end": tuple(f"on_{stage}_epoch_end" for stage in _ENDS),
    "on_batch_start": ("on_train_batch_start",),
    "on_batch_end": ("on_train_batch_end",),
    "on_pretrain_routine_start": ("on_fit_start",),
    "on_pretrain_routine_end": ("on_fit_start",),
    "on_keyboard_interrupt": ("on_exception",),
    "on_init_start": ("__init__", "setup"),
    "on_init_end": ("__init__", "setup"),
    "training_epoch_end": ("on_train_epoch_end",),
    "validation_epoch_end": ("on_validation_epoch_end",),
    "test_epoch_end": ("on_test_epoch_end",),
    "training_step_end": ("training_step",),
    "validation_step_end": ("validation_step",),
    "test_step_end": ("test_step",),
}


def users(owner: object, name: str) -> Callable[..., Any] | None:
    """A method that the user wrote.

    Args:
        owner: A module, data module or callback.
        name: The method's name.

    Returns:
        The bound method; None where there is none, where it is one of Fulmen's, and where the user calls it himself
        from the hook of today.
    """
    method = getattr(owner, name, None)
    function = getattr(method, "__func__", method)
    if not callable(method) or str(getattr(function, "__module__", "")).startswith("fulmen."):
        return None
    if any(_calls(owner, caller, name) for caller in _CALLERS.get(name, ())):
        return None
    return method  # type: ignore[no-any-return]


def _calls(owner: object, caller: str, name: str) -> bool:
    function = getattr(getattr(owner, caller, None), "__func__", None)
    code = getattr(function, "__code__", None)
    return code is not None and name in code.co_names and not function.__module__.startswith("fulmen.")


def put(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Has a function called in place of a method, for the run that begins.

    Args:
        owner: Whose method.
        name: Its name.
        function: The function.
    """
    getattr(function, "__dict__", {}).pop("__signature__", None)  # a method's own, which names the object it is of
    owner.__dict__.setdefault("_stand_ins", {})[name] = function


def taken(method: Callable[..., Any]) -> tuple[list[str], int]:
    """What a method takes by position.

    Args:
        method: The method, bound.

    Returns:
        The names of its parameters, and how many of them must be given.
    """
    parameters = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [one.name for one in parameters], sum(one.default is one.empty for one in parameters)


def present(owner: object, name: str) -> Callable[..., Any]:
    """What is called under a name in this run so far: a stand-in, or the method.

    Args:
        owner: Whose method.
        name: Its name.
    """
    return stand_in(owner, name)  # type: ignore[no-any-return]
