"""Names of classes in files and command lines that were written for Lightning mean Fulmen's."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

_FOREIGN = r"(?:pytorch_lightning|lightning\.pytorch)((?:\.[A-Za-z_]\w*)+)"
_WHOLE = re.compile(_FOREIGN)
# Not inside a longer name, an address or a path.
_INSIDE = re.compile(rf"(?<![\w./\\-]){_FOREIGN}(?![\w/\\-])")


@cache
def ours(name: str) -> str | None:
    """Fulmen's name for what a name of Lightning stands for.

    Args:
        name: A dotted name, as ``"pytorch_lightning.callbacks.EarlyStopping"``.

    Returns:
        The name, as ``"fulmen.callbacks.EarlyStopping"``; None where it is none of Lightning's, or Fulmen has no such
        module.
    """
    match = _WHOLE.fullmatch(name)
    if match is None:
        return None
    found = f"fulmen{match[1]}"
    place = found.rpartition(".")[0]
    # A class that Fulmen does not have is looked for here as well: the error then speaks of Fulmen.
    return found if _exists(found) or (place.count(".") and _exists(place)) else None


def _exists(name: str) -> bool:
    place, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
        return True
    except ImportError:
        pass
    try:
        return hasattr(importlib.import_module(place), last)
    except ImportError:
        return False


def spellings(name: str) -> list[str]:
    """The names that may be written for one of Fulmen's, its own first."""
    inner = name.removeprefix("fulmen.")
    return [name] if inner == name else [name, f"pytorch_lightning.{inner}", f"lightning.pytorch.{inner}"]


def renamed(value: Any) -> Any:
    """A value of a configuration in which Lightning's names are replaced; what holds none is returned as it is.

    Args:
        value: A text, or a nest of dictionaries and lists.

    Returns:
        The value.
    """
    if isinstance(value, str):
        return ours(value) or value
    if type(value) is dict:
        return {key: renamed(item) for key, item in value.items()}
    if type(value) is list:
        return [renamed(item) for item in value]
    return value


def renamed_word(word: str) -> str:
    """A word of a command line, or the value of a variable, in which Lightning's names are replaced.

    Args:
        word: As ``"--trainer.callbacks=lightning.pytorch.callbacks.EarlyStopping"``.

    Returns:
        The word.
    """
    return _INSIDE.sub(lambda match: ours(match[0]) or match[0], word)
