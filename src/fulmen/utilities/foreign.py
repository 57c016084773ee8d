"""Hyper-parameters in files that other programs wrote: harmless stand-ins for well-known classes.

``torch.load(weights_only=True)`` calls what it is told to allow. What is allowed here makes plain data of its arguments
and nothing else, so that a file by PyTorch Lightning is read without importing Lightning and without running code.
"""

from __future__ import annotations

import argparse
import pathlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FOREIGN = ("lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities")
MARK = "__fulmen__"
_HOMES = (
    "pytorch_lightning.utilities.parsing", "lightning.pytorch.utilities.parsing", "lightning_fabric.utilities.data",
    "lightning.fabric.utilities.data", "fulmen.utilities.parsing",
)  # fmt: skip
_FACTORIES = (list, dict, set, int, float, str, bool, tuple)


class _AttributeDict:
    """Makes the only kinds of dictionary that a safe load fills, marked as what they stand for."""

    def __new__(cls, *args: Any) -> Any:
        return _marked("AttributeDict", *args)


def _marked(kind: str, *args: Any) -> OrderedDict[Any, Any]:
    made: OrderedDict[Any, Any] = OrderedDict(*args)
    vars(made)[MARK] = kind
    return made


def _default_dict(factory: Any = None, *args: Any) -> OrderedDict[Any, Any]:
    made = _marked("defaultdict", *args)
    vars(made)["factory"] = factory
    return made


def _path(*parts: Any) -> pathlib.Path:
    return pathlib.Path(*map(str, parts))


def _pure_posix_path(*parts: Any) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(*map(str, parts))


def _pure_windows_path(*parts: Any) -> pathlib.PureWindowsPath:
    return pathlib.PureWindowsPath(*map(str, parts))


def foreign_form(value: OrderedDict[Any, Any]) -> dict[str, Any] | None:
    """The form of a marked dictionary; None if it is an ordinary one."""
    kind = vars(value).get(MARK)
    pairs = list(dict.items(value))
    if kind == "AttributeDict":
        return {"kind": "dict", "of": kind, "value": pairs}
    if kind == "defaultdict":
        factory = vars(value).get("factory")
        known = isinstance(factory, type) and factory in _FACTORIES
        name = f"builtins:{factory.__name__}" if isinstance(factory, type) and known else None
        return {"kind": kind, "factory": name, "value": pairs}
    return None


@contextmanager
def well_known() -> Iterator[None]:
    """Lets ``torch.load(weights_only=True)`` read paths, namespaces and dictionaries as Lightning's files hold them."""
    pairs: list[Any] = [(_AttributeDict, f"{home}.AttributeDict") for home in _HOMES]
    for module in ("pathlib", "pathlib._local"):
        pairs += [(_path, f"{module}.{name}") for name in ("Path", "PosixPath", "WindowsPath")]
        pairs += [(_pure_posix_path, f"{module}.PurePosixPath"), (_pure_windows_path, f"{module}.PureWindowsPath")]
    pairs += [(argparse.Namespace, "argparse.Namespace"), (_default_dict, "collections.defaultdict")]
    pairs += [(factory, f"builtins.{factory.__name__}") for factory in _FACTORIES]
    with torch.serialization.safe_globals(pairs):
        yield
