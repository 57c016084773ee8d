"""Where an older generation of the interface plugs in.

The code of today knows this seam and no word of what plugs in. What does is named once, by the facade, and has four
functions:

- ``teach(kind)`` adds names to one of our classes, or replaces methods by ones that take more arguments;
- ``arguments(trainer, given, named)`` makes the Trainer's arguments of today out of what was given;
- ``made(trainer)`` hears of a Trainer whose ``__init__`` is done;
- ``adapt(trainer, owner)`` looks at a module, data module or callback before a run. It may add to
  ``trainer.companions`` (callbacks that hear of everything first and that nobody sees), set ``_optimization_kind`` of
  a module (a class like ``loops.optimize.Automatic``), and put functions into ``owner._stand_ins``, which are called in
  place of the methods of these names.

It names the Trainer's arguments that are gone in ``ARGUMENTS``, for variables of the environment; the aliases of import
names call ``speak()`` and ``forget()``.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_path: str | None = None
TAUGHT: dict[str, type] = {}
"""Our classes that may be taught, by name, once they are there."""


def register(path: str) -> None:
    """Names the module that knows the older generation; ``FULMEN_DIALECT=none`` in the environment leaves it out.

    Args:
        path: Its import path; it is imported on use.
    """
    global _path
    _path = None if os.environ.get("FULMEN_DIALECT") == "none" else path


def older() -> Any:
    """The module that knows the older generation, or None."""
    return None if _path is None else importlib.import_module(_path)


def taught(kind: T) -> T:
    """Decorates a class that an older generation has more names for.

    Args:
        kind: The class.

    Returns:
        The class itself.
    """
    TAUGHT[kind.__name__] = kind
    generation = older()
    if generation is not None:
        generation.teach(kind)
    return kind


def adapt(trainer: Any, owner: object) -> None:
    """Lets the older generation look at a module, data module or callback, before it is checked and run.

    Args:
        trainer: The Trainer that will run it.
        owner: What is looked at.
    """
    if getattr(owner, "_stand_ins", None):
        owner.__dict__["_stand_ins"] = {}
    generation = older()
    if generation is not None:
        generation.adapt(trainer, owner)


def stand_in(owner: object, name: str) -> Any:
    """What is called in place of a method during a run, or the method where that is nothing else.

    Args:
        owner: Whose method.
        name: Its name.

    Returns:
        A callable.

    Raises:
        AttributeError: If there is neither.
    """
    found = getattr(owner, "__dict__", {}).get("_stand_ins")
    return found[name] if found and name in found else getattr(owner, name)
