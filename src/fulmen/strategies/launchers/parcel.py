"""What goes from one process to another, and which part of it cannot."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fulmen.strategies.launchers.process_state import ProcessState
from fulmen.utilities.exceptions import MisconfiguredType

_ERRORS = (pickle.PickleError, AttributeError, TypeError, RuntimeError, NotImplementedError)
# Dictionaries of a module whose entries are its attributes.
_TABLES = ("_modules", "_parameters", "_buffers", "__dict__")


@dataclass
class Job:
    """A function that all processes run.

    Attributes:
        function: The function.
        args: What it is called with.
        kwargs: What it is called with by name.
        collect: What gives the first process's results for the one that started it; None where there are none.
        state: What the processes have to begin with; None where they have it, as forks do.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    collect: Callable[[], Any] | None = None
    state: ProcessState | None = None


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
        inner = next((one for one in _parts(thing) if id(one[1]) not in seen and not _is_picklable(one[1])), None)
        if inner is None:
            return f"`{name or type(thing).__name__}`, a {type(thing).__name__}"
        way, part = inner
        if not way:  # from a method to its object, which has a name of its own
            name = ""
        elif way[0] == "." and not name and not isinstance(thing, Job):
            name = f"{type(thing).__name__}{way}"
        else:
            name = f"{name}{way}".lstrip(".")
        thing = part


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
