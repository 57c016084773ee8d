"""Teaches our classes what code of Lightning 1.x asks of them, and takes it back."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from fulmen.compat import v1
from fulmen.utilities.generations import TAUGHT

_MISSING = object()
_SPECIAL = ("__init__", "__init_subclass__")
_undo: list[tuple[type, str, Any]] = []


def speak() -> None:
    """Teaches all of our classes that are there; others are taught when they come."""
    v1.speaking = True
    for kind in list(TAUGHT.values()):
        teach(kind)


def teach(kind: type) -> None:
    """Adds the names of a class's vocabulary to it, and replaces methods by ones that take more.

    Args:
        kind: The class.
    """
    if kind.__name__ in v1.VOCABULARIES:
        vocabulary = importlib.import_module(v1.VOCABULARIES[kind.__name__])
        for source in (vocabulary.WORDS, vocabulary.SIGNATURES):
            for name, value in _names(source).items():
                # where today's stands, so that it is not taken for an override of it
                owner = _owner(kind, name) if source is vocabulary.SIGNATURES else kind
                if name == "__init__" and name in vars(owner):
                    # a command line makes its options of what today's takes
                    functools.update_wrapper(value, vars(owner)[name])
                _undo.append((owner, name, vars(owner).get(name, _MISSING)))
                setattr(owner, name, value)


def _owner(kind: type, name: str) -> type:
    ours = (base for base in kind.__mro__ if base.__module__.startswith("fulmen."))
    return next((base for base in ours if name in vars(base)), kind)


def _names(source: type) -> dict[str, Any]:
    """What a class of names has, and what it has from its bases."""
    found = {name: value for base in reversed(source.__mro__[:-1]) for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if name in _SPECIAL or not name.startswith("__")}


def before(kind: str, name: str) -> Any:
    """A method of today's, in place of which one of 1.x was put.

    Args:
        kind: The name of the class.
        name: The method's name.
    """
    return next(value for taught, known, value in _undo if taught.__name__ == kind and known == name)


def forget() -> None:
    """Takes back all of it; for tests."""
    v1.speaking = False
    while _undo:
        kind, name, before = _undo.pop()
        if before is _MISSING:
            delattr(kind, name)
        else:
            setattr(kind, name, before)
