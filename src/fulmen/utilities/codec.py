"""Plain data for checkpoints: what a safe load accepts, and forms for some values that it does not."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch

from fulmen.utilities.parsing import AttributeDict

_TAG = "__fulmen__"
# Exact types: a subclass is stored by the name of its class, which a safe load refuses.
_PLAIN = {
    type(None), bool, int, float, complex, str, bytearray,
    torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device, torch.layout,
}  # fmt: skip
_MAPPINGS = {dict, OrderedDict, Counter, AttributeDict}


def encode(value: Any, name: str = "") -> tuple[Any, list[str]]:
    """Turns a value into one that ``torch.load(weights_only=True)`` accepts.

    Paths, namespaces and numpy scalars get a form that :func:`decode` turns back; an ``AttributeDict`` becomes a
    ``dict``.

    Args:
        value: A leaf, or a nest of mappings, lists, tuples and sets.
        name: What the value is called.

    Returns:
        The value to store, and for each part that has no safe form its name and type, as ``"net (torch.nn.Linear)"``.
    """
    refused: list[str] = []
    return _encode(value, name, refused), refused


def decode(value: Any) -> Any:
    """Turns back what :func:`encode` gave; everything else stays as it is."""
    kind = type(value)
    if kind in _MAPPINGS:
        if _TAG in value:
            restore = _RESTORE.get(value[_TAG])
            return restore(value) if restore is not None else value
        return _rebuilt(value, {key: decode(item) for key, item in value.items()}.items())
    if kind in (list, tuple):
        return kind(decode(item) for item in value)
    return value


def _encode(value: Any, name: str, refused: list[str]) -> Any:
    kind = type(value)
    if kind in _MAPPINGS:
        items = [
            (_encode(key, f"{name} (a key)", refused), _encode(item, f"{name}.{key}" if name else str(key), refused))
            for key, item in value.items()
        ]
        if _TAG in value:
            return {_TAG: "dict", "value": [list(item) for item in items]}
        return _rebuilt(value, items)
    if kind in (list, tuple):
        return kind(_encode(item, f"{name}[{i}]", refused) for i, item in enumerate(value))
    if kind is set:
        return {_encode(item, f"{name}{{...}}", refused) for item in value}
    if kind in _PLAIN or kind in torch.serialization.get_safe_globals():
        return value
    if kind is bytes:  # pickle has no form for empty bytes that a safe load takes
        return {_TAG: "bytes", "value": value.decode("latin-1")}
    if isinstance(value, pathlib.PurePath):
        return {_TAG: "path", "value": str(value)}
    if kind is argparse.Namespace:
        return {_TAG: "namespace", "value": _encode(vars(value), name, refused)}
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].generic) and kind.__module__ == "numpy":
        item = value.item()
        if type(item) in _PLAIN:
            return {_TAG: "numpy", "dtype": value.dtype.str, "value": item}
    refused.append(f"{name} ({kind.__module__}.{kind.__qualname__})")
    return None


def _rebuilt(old: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    kind: Any = dict if type(old) is AttributeDict else type(old)
    new: dict[Any, Any] = kind(dict(items))
    return new


def _numpy_scalar(stored: dict[str, Any]) -> Any:
    import numpy

    return numpy.dtype(stored["dtype"]).type(stored["value"])


_RESTORE: dict[Any, Callable[[dict[str, Any]], Any]] = {
    "path": lambda stored: pathlib.Path(stored["value"]),
    "namespace": lambda stored: argparse.Namespace(**decode(stored["value"])),
    "bytes": lambda stored: stored["value"].encode("latin-1"),
    "numpy": _numpy_scalar,
    "dict": lambda stored: {key: decode(item) for key, item in stored["value"]},
}
