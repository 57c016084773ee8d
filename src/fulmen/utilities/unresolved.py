"""What stands in a loaded checkpoint for a value that could not be made without running code."""

from __future__ import annotations

import argparse
import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from fulmen.utilities.exceptions import MisconfiguredType
from fulmen.utilities.registered import static


class UnresolvedError(MisconfiguredType):
    """A value of a checkpoint is used that loading it safely could not bring back."""


class Unresolved:
    """A value that a safe load left as data; whoever uses it gets an error that says what to do.

    It may be shown, compared, kept and saved again, where it goes back into the file as it came.

    Args:
        what: What it is, as ``"an Enum member, `app.Colour`"``.
        place: Where it lies, as ``"deep.fn[0]"``.
        why: Why it could not be made.
        fix: What to do.
        values: What the file tells of it.
        stored: Its form in the file.
    """

    __slots__ = ("_fix", "_place", "_stored", "_values", "_what", "_why")

    def __init__(self, what: str, place: str, why: str, fix: str, values: Any, stored: Any) -> None:
        self._what, self._place, self._why, self._fix = what, place, why, fix
        self._values, self._stored = values, stored

    def __repr__(self) -> str:
        values = "" if self._values is None else f": {_short(self._values)}"
        return f"<Unresolved {self._what}{values}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # protocols, such as those of copies, ask for these and go on without
            raise AttributeError(f"`Unresolved` has no attribute {name!r}")
        raise error_of(self)


def error_of(value: Unresolved) -> UnresolvedError:
    """The error that a placeholder's use raises."""
    return UnresolvedError(
        f"`{value._place}` was not made when the checkpoint was loaded: {value._why}.",
        got=f"{value._what}{'' if value._values is None else f', with {_short(value._values)}'}",
        fix=value._fix,
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _refuse(self: Unresolved, *args: Any, **kwargs: Any) -> NoReturn:
    raise error_of(self)


_USES = (
    "call", "iter", "next", "len", "bool", "contains", "getitem", "setitem", "delitem", "int", "float", "complex",
    "index", "fspath", "enter", "exit", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert", "round", "await",
    *(f"{side}{name}" for side in ("", "r") for name in (
        "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor",
    )),
)  # fmt: skip
for _name in _USES:
    setattr(Unresolved, f"__{_name}__", _refuse)


def placeholders(value: Any, seen: set[int] | None = None) -> Iterator[Unresolved]:
    """The placeholders among the parts of a value.

    Args:
        value: A leaf, or a nest of collections, namespaces, data classes and partials.
        seen: Ids of what was looked at before.

    Yields:
        Each placeholder.
    """
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, (str, bytes)):
        return
    seen.add(id(value))
    if type(value) is Unresolved:
        yield value
    else:
        for part in _parts(value):
            yield from placeholders(part, seen)


def is_whole(value: Any) -> bool:
    """Whether a value holds no placeholder."""
    return next(placeholders(value), None) is None


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return value
    if isinstance(value, slice):
        return value.start, value.stop, value.step
    if isinstance(value, functools.partial):
        return value.args, value.keywords
    if isinstance(value, argparse.Namespace):
        return vars(value).values()
    if "numpy" in sys.modules and type(value) is sys.modules["numpy"].ndarray:
        return value.ravel().tolist() if value.dtype == object else ()
    names = static(type(value), "__dataclass_fields__")
    return _field_values(value, names) if isinstance(names, dict) else ()


def _field_values(value: Any, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        try:
            yield object.__getattribute__(value, name)  # not by a way of the class's own, which is code
        except AttributeError:
            pass
