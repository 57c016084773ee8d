"""The file ``hparams.yaml``: hyper-parameters for people to read."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from fulmen.utilities.imports import require

NAME_HPARAMS_FILE = "hparams.yaml"

_LARGEST_ARRAY = 1000


def save_hparams_to_yaml(path: str, hparams: Mapping[Any, Any]) -> None:
    """Writes hyper-parameters to a file, beside its name first, so that there is never half a file.

    Args:
        path: The file.
        hparams: Values by name.
    """
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(to_yaml(hparams))
    os.replace(temporary, path)


def to_yaml(hparams: Mapping[Any, Any]) -> str:
    """Hyper-parameters as YAML, with sorted keys.

    Numbers, text, None and their dictionaries, lists, tuples and sets read back as they were. Importable functions
    and classes are written as their names, small tensors and arrays as lists, data classes and namespaces as
    dictionaries, enumeration members as their names, and everything else as its text: there are never pickled
    objects in the file.

    Args:
        hparams: Values by name.

    Returns:
        The text of the file.

    Example:
        >>> print(to_yaml({"lr": 1e-4, "layers": [64, 32], "act": "relu"}), end="")
        act: relu
        layers:
        - 64
        - 32
        lr: 0.0001
    """
    text: str = require("yaml", "all", "hparams.yaml").dump(_plain(hparams, ()))
    return text


def _plain(value: Any, parents: tuple[int, ...]) -> Any:
    """The value itself where YAML has a form for it, else what is nearest to it."""
    if value is None or _is_importable(value):
        return value
    if isinstance(value, Enum):
        return value.name
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if callable(getattr(value, "tolist", None)):
        small = math.prod(getattr(value, "shape", ())) <= _LARGEST_ARRAY
        return value.tolist() if small else str(value)
    return str(value) if id(value) in parents else _plain_collection(value, (*parents, id(value)))


def _plain_collection(value: Any, parents: tuple[int, ...]) -> Any:
    if isinstance(value, Namespace):
        value = vars(value)
    elif dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain(item, parents) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return {_plain_key(item) for item in value}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        items = [_plain(item, parents) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return str(value)


def _plain_key(key: Any) -> Any:
    return _plain(key, ()) if key is None or isinstance(key, (bool, int, float, str, Enum)) else str(key)


def _is_importable(value: Any) -> bool:
    """Whether this is a function or class that YAML can write as a name, which leads back to it."""
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str):
        return False
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found is value
