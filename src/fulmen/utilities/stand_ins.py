"""Reads files that name classes which are not there, or which may not be called: a harmless stand-in for each name.

``torch.load(weights_only=True)`` calls what it is told to allow. A stand-in keeps what it is called with, and does
nothing else, so that everything beside it can be read. What becomes of stand-ins is said in
:mod:`fulmen.utilities.stand_in_forms`.
"""

from __future__ import annotations

import _compat_pickle
import importlib.machinery
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import IO, Any

import torch

from fulmen.utilities.foreign import MARK
from fulmen.utilities.registered import NOTHING

# One name at a time is found in files of torch's oldest format; nobody's checkpoint has more of them.
_MOST = 200
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")
_FILLED = re.compile(r"Can only (SETITEMS?|append to|extend) .*but got <class '([^']+)'>")


class StandIn:
    """What stands for an object of a class, or for what a function returns: it keeps what it was made of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs, self.state = args, kwargs, None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Keeps the arguments, since not every way of making an object calls ``__init__``."""
        made = object.__new__(cls)
        made.args, made.kwargs, made.state = args, kwargs, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class TrustedStandIn(StandIn):
    """The same where an ordinary load, which fills whatever it made, reads the file."""

    filled: Any

    def __setitem__(self, key: Any, value: Any) -> None:
        self.filled = {**getattr(self, "filled", {}), key: value}

    def append(self, value: Any) -> None:
        """Takes what a list would."""
        self.extend([value])

    def extend(self, values: Iterable[Any]) -> None:
        """Takes what a list would."""
        self.filled = [*getattr(self, "filled", []), *values]


class StandInDict(StandIn):
    """The same for a class whose objects are filled like a dictionary."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes the only kinds of dictionary that a safe load fills, marked as what they stand for."""
        made: OrderedDict[Any, Any] = OrderedDict(*args)
        vars(made)[MARK] = f"stand-in {cls.__module__}:{cls.__qualname__}"
        return made


class StandInList(StandIn):
    """The same for a class whose objects are filled like a list."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes the only kind of list that a safe load fills."""
        return list(*args)


def _stand_in(name: str, base: type) -> type:
    module, _, inner = name.rpartition(".")
    return type(inner, (base,), {"__module__": module, "__qualname__": inner})


def read_with_stand_ins(read: Callable[[], Any], names: Iterable[str]) -> tuple[Any, set[str]]:
    """Reads a file, with a stand-in for each name that a safe load refuses.

    Args:
        read: Reads the file from its beginning, as a safe load does.
        names: The names that are known to be refused.

    Returns:
        What was read, and all names that were refused.

    Raises:
        UnpicklingError: If something is left that a safe load does not read.
    """
    kinds: dict[str, type] = dict.fromkeys(names, StandIn)
    for _ in range(_MOST):
        made: list[Any] = [(_stand_in(name, base), name) for name, base in kinds.items()]
        try:
            with torch.serialization.safe_globals(made):
                return read(), set(kinds)
        except pickle.UnpicklingError as error:
            found = _next(str(error), kinds)
            if found is None:
                raise
            kinds.update(found)
    raise pickle.UnpicklingError(f"The file names more than {_MOST} classes and functions.")


def _next(message: str, kinds: dict[str, type]) -> dict[str, type] | None:
    filled = _FILLED.search(message)
    if filled is not None and kinds.get(filled[2]) is StandIn:
        return {filled[2]: StandInDict if filled[1].startswith("SET") else StandInList}
    unknown = _UNKNOWN.search(message)
    if unknown is None:
        return None
    name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
    return None if name in kinds else {name: StandIn}


def is_gone(name: str) -> bool:
    """Whether no class or function has a name any more, as far as that can be known without importing anything.

    Args:
        name: The module and the name in it, with dots.
    """
    module, _, inner = name.rpartition(".")
    # pickles that torch writes have the names of Python 2
    module, inner = _compat_pickle.NAME_MAPPING.get((module, inner), (module, inner))
    module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    loaded = sys.modules.get(module)
    if loaded is not None:
        found = vars(loaded).get(inner, NOTHING)
        return found is NOTHING and "__getattr__" not in vars(loaded)
    places: Any = None
    path = ""
    for part in module.split("."):
        path = f"{path}.{part}" if path else part
        try:
            spec = importlib.machinery.PathFinder.find_spec(path, places)
        except (ImportError, OSError, ValueError):
            return False
        if spec is None:
            return path not in sys.builtin_module_names
        places = spec.submodule_search_locations or []
    return False


class _Pickles:
    """What ``torch.load`` takes as its module for pickles: names that are gone become stand-ins."""

    def __init__(self) -> None:
        self.gone: dict[str, type] = {}

    def find(self, find: Callable[[str, str], Any], module: str, name: str) -> Any:
        """What a name stands for."""
        try:
            return find(module, name)
        except (ImportError, AttributeError):
            full = f"{module}.{name}"
            return self.gone.setdefault(full, _stand_in(full, TrustedStandIn))

    def module(self) -> Any:
        """The module."""
        pickles = self

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                return pickles.find(super().find_class, module, name)

        def load(file: IO[bytes], **options: Any) -> Any:
            return Unpickler(file, **options).load()

        made: Any = ModuleType("fulmen_pickles")
        made.Unpickler, made.load = Unpickler, load
        return made


def read_trusted(read: Callable[[Any], Any]) -> tuple[Any, set[str]]:
    """Reads a file that the user trusts, and of which some classes are gone.

    Args:
        read: Reads the file from its beginning with a module for pickles.

    Returns:
        What was read, and the names that are gone.
    """
    pickles = _Pickles()
    return read(pickles.module()), set(pickles.gone)
