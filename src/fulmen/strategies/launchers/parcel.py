"""What goes from one process to another, and which part of it cannot."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from fulmen.utilities.exceptions import MisconfiguredType

_ERRORS = (pickle.PickleError, AttributeError, TypeError, RuntimeError, NotImplementedError)
# Dictionaries of a module whose entries are its attributes.
_TABLES = ("_modules", "_parameters", "_buffers", "__dict__")


def send(thing: Any, path: str, fix: str) -> None:
    """Writes something to a file, for another process.

    Tensors are copied, so that each process has its own.

    Args:
        thing: What.
        path: The file.
        fix: What a user can do where a part of it cannot be sent.

    Raises:
        MisconfiguredType: If it cannot be pickled; names the part.
    """
    try:
        torch.save(thing, path)
    except _ERRORS as error:
        place = _place(thing)
        if place is None:  # it is not pickling that has failed
            raise
        raise MisconfiguredType(
            "What goes from one process to another has to be picklable.", got=f"{place}: {error}", fix=fix
        ) from None


def receive(path: str) -> Any:
    """Reads what :func:`send` wrote; tensors come to the CPU.

    Args:
        path: The file.
    """
    return torch.load(path, map_location="cpu", weights_only=False)


def _place(thing: Any) -> str | None:
    """The innermost part that cannot be pickled, as one would write it; None where all can."""
    if _is_picklable(thing):
        return None
    name, seen = "", set[int]()
    while True:
        seen.add(id(thing))
        inner = next(
            (one for one in _parts(thing) if id(one[1]) not in seen and not _is_picklable(one[1])),
            None,
        )
        if inner is None:
            return f"`{name.lstrip('.') or type(thing).__name__}`, a {type(thing).__name__}"
        name, thing = (f"{type(thing).__name__}" if not name and inner[0][0] == "." else name) + inner[0], inner[1]


def _is_picklable(thing: Any) -> bool:
    try:
        pickle.dumps(thing)
    except (*_ERRORS, RecursionError):
        return False
    return True


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """What it holds: how it is reached from there, and the part."""
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in thing.items())
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", value) for index, value in enumerate(thing))
    elif isinstance(thing, functools.partial):
        yield from ((".func", thing.func), (".args", thing.args), (".keywords", thing.keywords))
    elif getattr(thing, "__self__", None) is not None:
        yield "", thing.__self__
    elif not isinstance(thing, type):
        yield from _attributes(thing)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    held = vars(thing) if hasattr(thing, "__dict__") else {}
    for name, value in held.items():
        if name in _TABLES and isinstance(value, Mapping):
            yield from ((f".{key}", one) for key, one in value.items())
        else:
            yield f".{name}", value
