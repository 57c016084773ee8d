"""What a type is called in a message, and which classes it takes."""

from __future__ import annotations

import collections.abc
import inspect
import os
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {int: "an int", float: "a number", bool: "true or false", str: "a text", type(None): "null", dict: "a mapping"}


def told(hint: Any) -> str:
    """A type in words.

    Args:
        hint: The type of an argument.

    Returns:
        As ``"an int or null"``.

    Example:
        >>> told(int | None), told(list[int])
        ('an int or null', 'a list of int')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        parts = list(dict.fromkeys(told(part) for part in arguments))
        return f"{', '.join(parts[:-1])} or {parts[-1]}" if len(parts) > 1 else parts[0]
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin in (list, set, tuple, collections.abc.Iterable, collections.abc.Sequence):
        inner = " or ".join(short(part) for part in arguments if part is not Ellipsis)
        kind = "list" if origin is collections.abc.Iterable else origin.__name__.lower()
        return f"a {kind} of {inner}" if inner else f"a {kind}"
    if origin is collections.abc.Callable:
        return "a function or a class by its path"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(hint.__members__)
    if hint in _NAMES:
        return _NAMES[hint]
    return with_article(short(hint))


def with_article(name: str) -> str:
    """A name with its article."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def short(hint: Any) -> str:
    """The name of a type alone."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "")


def classes_in(hint: Any) -> Iterator[type]:
    """The classes of which an argument takes objects, plain data left out."""
    if isinstance(hint, (tuple, list)):
        for part in hint:
            yield from classes_in(part)
    elif isinstance(hint, type) and get_origin(hint) is None:
        if hint.__module__ not in ("builtins", "datetime") and not issubclass(hint, (Enum, os.PathLike)):
            yield hint
    else:
        for part in get_args(hint):
            yield from classes_in(part)


def known(hint: Any) -> dict[str, type]:
    """The classes that an argument takes by their names: those that are imported, without private and abstract ones."""
    found: dict[str, type] = {}
    todo = list(classes_in(hint))
    while todo:
        cls = todo.pop()
        if found.get(cls.__name__) is cls:
            continue
        if not cls.__name__.startswith("_") and not inspect.isabstract(cls):
            found.setdefault(cls.__name__, cls)
        todo += type.__subclasses__(cls)
    return found
