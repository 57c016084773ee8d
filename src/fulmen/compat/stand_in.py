"""Classes and functions that can be imported and derived from, and that say at their use what to do instead.

Libraries import what they may never need, such as a strategy that they only compare with. A stand-in lets them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from fulmen.utilities.exceptions import MisconfiguredHook


def class_of(module: str, name: str, base: type, rule: str, fix: str) -> type:
    """A class that nothing can be made of.

    Args:
        module: Where it can be imported from.
        name: Its name.
        base: What it is derived from.
        rule: The first sentence of the error.
        fix: What to do.

    Returns:
        The class.
    """

    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        raise MisconfiguredHook(rule, got=f"{type(self).__name__}(...)", fix=fix)

    # Classes of the base's may be kept from being made while they have methods to fill in; this one says more.
    members = {
        "__init__": __init__,
        "__module__": module,
        "__doc__": f"{rule} {fix}",
        "__abstractmethods__": frozenset(),
    }
    made = type(base)(name, (base,), members)
    made.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    return made


def function_of(module: str, name: str, rule: str, fix: str) -> Callable[..., NoReturn]:
    """A function that says what to do.

    Args:
        module: Where it can be imported from.
        name: Its name.
        rule: The first sentence of the error.
        fix: What to do.

    Returns:
        The function.
    """

    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise MisconfiguredHook(rule, got=f"{name}(...)", fix=fix)

    function.__name__ = function.__qualname__ = name
    function.__module__ = module
    function.__doc__ = f"{rule} {fix}"
    return function


def table(
    module: str, rule: str, classes: Mapping[str, tuple[str, str]], functions: Mapping[str, str]
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module of stand-ins, each made when it is asked for.

    Args:
        module: The module's name.
        rule: The first sentence of its errors, with ``{}`` for the name.
        classes: For each class the path of its base (``"callbacks.timer.Timer"`` below ``fulmen``, the name alone of
            another stand-in, or an empty string), and what to do.
        functions: For each function what to do.

    Returns:
        The function.
    """
    made: dict[str, Any] = {}

    def __getattr__(name: str) -> Any:
        if name in made:
            return made[name]
        if name in classes:
            base, fix = classes[name]
            made[name] = class_of(module, name, _base(base), rule.format(f"`{name}`"), fix)
        elif name in functions:
            made[name] = function_of(module, name, rule.format(f"`{name}`"), functions[name])
        else:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return made[name]

    def _base(path: str) -> Any:
        where, _, name = path.rpartition(".")
        if not where:
            return __getattr__(name) if name else object
        return getattr(importlib.import_module(where if where.startswith("torch.") else f"fulmen.{where}"), name)

    return __getattr__
