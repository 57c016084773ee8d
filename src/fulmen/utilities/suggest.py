"""The name that somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: object, candidates: Iterable[str]) -> str | None:
    """The candidate most like a misspelled name.

    Case does not count, nor do differences between ``-`` and ``_``.

    Args:
        name: What was written.
        candidates: What could have been meant.

    Returns:
        The candidate, or None where none is similar.

    Example:
        >>> closest("on_train_epoch_ends", ["on_train_start", "on_train_epoch_end"])
        'on_train_epoch_end'
    """
    spelled: dict[str, str] = {}
    for candidate in candidates:
        spelled.setdefault(_normal(candidate), candidate)
    found = difflib.get_close_matches(_normal(str(name)), spelled, n=1)
    return spelled[found[0]] if found else None


def did_you_mean(name: object, candidates: Iterable[str]) -> str:
    """A sentence that offers the closest candidate.

    Args:
        name: What was written.
        candidates: What could have been meant.

    Returns:
        ``"Did you mean `x`?"``, or an empty string where no candidate is similar.

    Example:
        >>> did_you_mean("acuracy", ["accuracy", "loss"])
        'Did you mean `accuracy`?'
    """
    near = closest(name, candidates)
    return f"Did you mean `{near}`?" if near is not None else ""


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")
