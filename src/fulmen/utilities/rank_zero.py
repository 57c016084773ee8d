"""Things that only the first process does, such as printing and warning."""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


class LightningDeprecationWarning(DeprecationWarning):
    """Something of Fulmen's will go."""


class _ToStderr(logging.Handler):
    """Shows what Fulmen says, for programs that have not set logging up."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            print(self.format(record), file=sys.stderr)


log = logging.getLogger("fulmen")
log.setLevel(logging.INFO)
log.addHandler(_ToStderr())
_RANK_VARIABLES = (
    "RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
    "MV2_COMM_WORLD_RANK",
)  # fmt: skip
_seen: set[str] = set()


def _rank_from_environment() -> int:
    """The rank that launchers tell; of a process on another than the first machine, perhaps only that it is not 0."""
    for name in _RANK_VARIABLES:
        value = os.environ.get(name)
        if value is not None and value.isdigit():
            return int(value) + (1000 * _machine() if name == "LOCAL_RANK" else 0)
    return 0


def _machine() -> int:
    value = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", ""))
    return int(value) if value.isdigit() else 0


@overload
def rank_zero_only(fn: Callable[P, T]) -> Callable[P, T | None]: ...
@overload
def rank_zero_only(fn: Callable[P, T], default: T) -> Callable[P, T]: ...
def rank_zero_only(fn: Callable[P, T], default: T | None = None) -> Callable[P, T | None]:
    """Makes a function run on the process with rank 0 alone.

    The rank is read when the function is called, from ``rank_zero_only.rank``, which a strategy sets once it knows;
    before that, from the variables that launchers set.

    Args:
        fn: The function.
        default: What the other processes get.

    Returns:
        The wrapped function.
    """

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T | None:
        rank = getattr(rank_zero_only, "rank", None)
        if rank is None:
            rank = _rank_from_environment()
        return fn(*args, **kwargs) if rank == 0 else default

    return wrapped


@rank_zero_only
def rank_zero_warn(message: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """Warns, on rank 0 alone.

    Args:
        message: What to say.
        stacklevel: How many frames up the line stands that it is about.
        **kwargs: For ``warnings.warn``: the ``category``, above all.
    """
    warnings.warn(str(message), stacklevel=stacklevel, **kwargs)


@rank_zero_only
def warn_once(message: str, category: type[Warning] = UserWarning, stacklevel: int = 4) -> None:
    """Warns, on rank 0 alone, and says the same sentence once a process."""
    if message not in _seen:
        _seen.add(message)
        warnings.warn(message, category, stacklevel=stacklevel)


def rank_zero_deprecation(message: Any, stacklevel: int = 5, **kwargs: Any) -> None:
    """Warns of something that will go, on rank 0 alone."""
    rank_zero_warn(message, stacklevel=stacklevel, **{"category": LightningDeprecationWarning, **kwargs})


@rank_zero_only
def rank_zero_info(*args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """Logs at level INFO, on rank 0 alone."""
    log.info(*args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_debug(*args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """Logs at level DEBUG, on rank 0 alone."""
    log.debug(*args, stacklevel=stacklevel, **kwargs)
