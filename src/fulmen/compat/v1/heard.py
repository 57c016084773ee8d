"""What of 1.x a user's object has: its own methods, and what these take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fulmen.utilities.generations import stand_in

_ENDS = ("train", "validation", "test")
# A method of these names that a hook of today calls is the user's own: it would run twice.
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
# How many arguments 1.x passed to each, whoever it was; to the others the Trainer and the module, to callbacks alone.
_GIVEN = {name: 1 for name in _CALLERS if name.endswith(("epoch_end", "step_end")) and name != "on_epoch_end"} | {
    "on_init_start": 1,
    "on_init_end": 1,
}
_OF_RUN = frozenset(name for name in _CALLERS if name not in _GIVEN) | {
    "on_post_move_to_device", "on_before_accelerator_backend_setup", "on_configure_sharded_model",
    "on_train_dataloader", "on_val_dataloader", "on_test_dataloader", "on_predict_dataloader",
}  # fmt: skip
_OURS = ("fulmen.", "torch.", "builtins")
_MOST = 64  # methods that are looked through for a call


def users(owner: object, name: str) -> Callable[..., Any] | None:
    """A method that the user wrote.

    Args:
        owner: A module, data module or callback.
        name: The method's name.

    Returns:
        The bound method; None where there is none, where it is one of Fulmen's, where it cannot take what 1.x passed,
        and where the user calls it himself from the hook of today.
    """
    method = getattr(owner, name, None)
    function = getattr(method, "__func__", method)
    if not callable(method) or str(getattr(function, "__module__", "")).startswith("fulmen."):
        return None
    if name in _GIVEN or name in _OF_RUN:
        if name in getattr(owner, "_modules", ()):
            return None
        if not _fits(function, hasattr(method, "__func__"), _places(owner, name)):
            return None
    kind: Any = type(owner)
    if any(_calls(kind, caller, name) for caller in _CALLERS.get(name, ())):
        return None
    return method  # type: ignore[no-any-return]


def _places(owner: object, name: str) -> int:
    """How many arguments 1.x passed to a hook that is no more."""
    kinds = {base.__name__ for base in type(owner).__mro__}
    return _GIVEN.get(name, 0 if kinds & {"LightningModule", "LightningDataModule"} else 2)


@functools.lru_cache(maxsize=1024)
def _fits(function: Callable[..., Any], bound: bool, places: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a callable that does not tell
        return True
    try:
        signature.bind(*[None] * (places + bound))
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _calls(kind: type, caller: str, name: str) -> bool:
    """Whether a method of a class calls another of it, itself or by way of further methods."""
    seen: set[str] = set()
    todo = [caller]
    while todo and len(seen) < _MOST:
        method = todo.pop()
        if method not in seen:
            seen.add(method)
            words = _words_of(kind, method)
            if name in words:
                return True
            todo += words
    return False


def _words_of(kind: type, method: str) -> list[str]:
    """The names in the code of a method, as the user's classes have it, and of those that it overrides and calls."""
    words: list[str] = []
    for base in kind.__mro__:
        if base.__module__.startswith(_OURS):
            continue
        function = vars(base).get(method)
        code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)  # type: ignore[arg-type]
        if code is not None:
            words += code.co_names
            if "super" not in code.co_names:
                break
    return words


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
        for parameter in inspect.signature(described(method)).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [one.name for one in parameters], sum(one.default is one.empty for one in parameters)


def described(method: Callable[..., Any]) -> Callable[..., Any]:
    """What tells the arguments of a method: where it hands on whatever it gets, the user's own that it overrides.

    Args:
        method: The method, bound.
    """
    while True:
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        function, owner = getattr(method, "__func__", None), getattr(method, "__self__", None)
        if function is None or inspect.Parameter.VAR_POSITIONAL not in kinds:
            return method
        users_classes = [base for base in type(owner).__mro__ if not base.__module__.startswith(_OURS)]
        having = [vars(base)[function.__name__] for base in users_classes if function.__name__ in vars(base)]
        place = next((place for place, one in enumerate(having) if one is function), len(having))
        if place + 1 >= len(having) or not inspect.isfunction(having[place + 1]):
            return method
        method = having[place + 1].__get__(owner)


def present(owner: object, name: str) -> Callable[..., Any]:
    """What is called under a name in this run so far: a stand-in, or the method.

    Args:
        owner: Whose method.
        name: Its name.
    """
    return stand_in(owner, name)  # type: ignore[no-any-return]
