"""Tracebacks that show the user's own code, without what lies around and between it."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from fulmen.utilities.exceptions import MisconfigurationException

_OURS = os.path.dirname(os.path.abspath(__file__)).removesuffix("utilities")
# Frames of decorators and context managers, which say nothing about what happened.
_GLUE = ("contextlib.py", "functools.py")


def fold(exception: BaseException) -> None:
    """Shortens the traceback of an exception, and of those that caused it, to what a user can act on.

    The user's own frames stay, all of them. Frames of this package and of torch go, but for the innermost one where
    the error came out of torch, or out of a fault in this package. A mistake that this package reports
    (``MisconfigurationException``) ends at the user's last frame. Set ``FULMEN_FULL_TRACEBACK=1`` to see everything.

    The traceback is changed where it stands, so a plain ``raise`` goes on with the short one; debuggers and
    ``__cause__`` work as ever.

    Args:
        exception: The exception, on its way to the user.

    Example:
        ``except BaseException as error: fold(error); raise``
    """
    if os.environ.get("FULMEN_FULL_TRACEBACK", "0") not in ("", "0"):
        return
    todo: list[BaseException | None] = [exception]
    seen: set[int] = set()
    while todo:
        error = todo.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        error.__traceback__ = _folded(error)
        todo += [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]


def _folded(error: BaseException) -> TracebackType | None:
    entries = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    if not entries:
        return None
    torch_folder = _torch_folder()
    kept = [entry for entry in entries if not _is_foldable(entry, torch_folder)]
    last = entries[-1]
    reported = isinstance(error, MisconfigurationException) and _file(last).startswith(_OURS)
    if not reported and last not in kept:
        kept.append(last)
    for entry, following in zip(kept, [*kept[1:], None]):
        entry.tb_next = following
    first = kept[0] if kept else None
    # Python 3.10 raises again from the entry it caught, whatever the exception says
    if entries[0] is not first:
        entries[0].tb_next = first
    return first


def _is_foldable(entry: TracebackType, torch_folder: str) -> bool:
    file = _file(entry)
    return file.startswith((_OURS, torch_folder)) or (
        os.path.basename(file) in _GLUE and os.path.dirname(file) == os.path.dirname(os.__file__)
    )


def _file(entry: TracebackType) -> str:
    return entry.tb_frame.f_code.co_filename


def _torch_folder() -> str:
    file = getattr(sys.modules.get("torch"), "__file__", None)
    return os.path.join(os.path.dirname(file), "") if file else _OURS
