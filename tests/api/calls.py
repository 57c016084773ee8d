"""Which functions of Fulmen implement the list, and which of them have run."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import fulmen

from .comparing import look_up
from .listing import Entry

PACKAGE = str(Path(fulmen.__file__).parent)


def implementations(entry: Entry) -> Iterator[tuple[str, FunctionType]]:
    """The functions under ``fulmen`` that a name of the list leads to, each with a name for it.

    Of a class these are its ``__init__``, its methods and what computes its properties, wherever in the order of
    resolution they are written. What torch or Python implement is none of them, nor is what has no body.

    Args:
        entry: The name.
    """
    value = look_up(entry)
    if isinstance(value, type):
        for member in ("__init__", *entry.facts.get("members", ())):
            for function in _functions(inspect.getattr_static(value, member, None)):
                yield f"{entry.path}.{member}", function
    else:
        for function in _functions(value):
            yield entry.path, function


def _functions(raw: Any) -> Iterator[FunctionType]:
    if isinstance(raw, property):
        raw = raw.fget
    elif isinstance(raw, functools.cached_property):
        raw = raw.func
    elif isinstance(raw, (staticmethod, classmethod)):
        raw = raw.__func__
    raw = getattr(raw, "__func__", raw)
    raw = inspect.unwrap(raw) if callable(raw) else raw
    if (
        isinstance(raw, FunctionType)
        and not getattr(raw, "__isabstractmethod__", False)
        and raw.__code__.co_filename.startswith(PACKAGE)
    ):
        yield raw


@contextmanager
def recording(ran: set[CodeType]) -> Iterator[None]:
    """Notes every function that is called, in any thread that is started meanwhile.

    It traces, and does not profile, since profilers are among what is called.

    Args:
        ran: Where to note them.
    """

    def note(frame: FrameType, event: str, arg: Any) -> None:
        ran.add(frame.f_code)

    before = sys.gettrace(), threading.gettrace()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])  # type: ignore[arg-type]


_NOTHING = {"RESUME", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "NOP", "CACHE"}


def does_nothing(function: FunctionType) -> bool:
    """Whether a function's body is empty, or a constant that it returns."""
    return {instruction.opname for instruction in dis.get_instructions(function)} <= _NOTHING


def call_with_nothing(function: Callable[..., Any]) -> None:
    """Calls a function with None for each of its arguments."""
    parameters = inspect.signature(function).parameters.values()
    function(*(None for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD))
