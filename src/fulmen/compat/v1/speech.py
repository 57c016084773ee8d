"""Teaches our classes what code of Lightning 1.x asks of them, and takes it back."""

from __future__ import annotations

import importlib
from typing import Any

from fulmen.compat import v1
from fulmen.utilities.generations import TAUGHT

_MISSING = object()
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
            for name, value in vars(source).items():
                if name == "__init__" or not name.startswith("__"):
                    _undo.append((kind, name, vars(kind).get(name, _MISSING)))
                    setattr(kind, name, value)


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
