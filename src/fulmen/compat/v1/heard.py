"""What of 1.x a user's object has: its own methods, and what these take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fulmen.utilities.generations import stand_in


def users(owner: object, name: str) -> Callable[..., Any] | None:
    """A method that the user wrote.

    Args:
        owner: A module, data module or callback.
        name: The method's name.

    Returns:
        The bound method; None where there is none, or where it is one of Fulmen's.
    """
    method = getattr(owner, name, None)
    function = getattr(method, "__func__", method)
    if not callable(method) or str(getattr(function, "__module__", "")).startswith("fulmen."):
        return None
    return method  # type: ignore[no-any-return]


def put(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Has a function called in place of a method, for the run that begins.

    Args:
        owner: Whose method.
        name: Its name.
        function: The function.
    """
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
