"""Steps that return what is to be logged, as in 1.0: ``{"loss": ..., "log": {...}, "progress_bar": {...}}``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.compat.v1.heard import present, put, users
from fulmen.compat.v1.hints import hint

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule

_KEYS = frozenset({"log", "progress_bar"})


def returns_values(method: Callable[..., Any]) -> bool:
    """Whether a step's code speaks of the key ``"log"`` or ``"progress_bar"``; it need not be run to know that.

    Args:
        method: The step.
    """
    code = getattr(method, "__code__", None)
    return code is not None and not _KEYS.isdisjoint(_words(code))


def _words(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        for one in constant if isinstance(constant, tuple) else (constant,):
            if isinstance(one, str):
                yield one


def put_returned(module: LightningModule) -> None:
    """Has what a module's steps return under ``"log"`` and ``"progress_bar"`` logged.

    Args:
        module: The module.
    """
    for stage in ("training", "validation", "test"):
        name = f"{stage}_step"
        method = users(module, name)
        # what an epoch's end makes of the outputs is logged there
        reduced = stage != "training" and users(module, f"{stage}_epoch_end") is not None
        if method is not None and not reduced and returns_values(method):
            put(module, name, _logging(module, name, present(module, name)))


def _logging(module: LightningModule, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def called(*args: Any, **kwargs: Any) -> Any:
        output = step(*args, **kwargs)
        if isinstance(output, dict) and not _KEYS.isdisjoint(output):
            _log(module, name, output)
        return output

    return called


def _log(module: LightningModule, name: str, output: dict[str, Any]) -> None:
    for_logger, for_bar = _values(output.get("log")), _values(output.get("progress_bar"))
    if for_logger or for_bar:
        hint(f"`{name}` that returns `log` and `progress_bar`", "`self.log(name, value, prog_bar=True)`.")
    for key, value in {**for_bar, **for_logger}.items():
        module.log(key, value, prog_bar=key in for_bar, logger=key in for_logger)


def _values(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    return {str(key): value for key, value in given.items() if _is_scalar(value)}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)
