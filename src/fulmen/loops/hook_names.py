"""Finds methods that look like a hook but are none, before they are silently never called."""

from __future__ import annotations

from typing import Any

from fulmen.utilities.exceptions import MisconfigurationException

_STEPS = (
    "training_step",
    "validation_step",
    "test_step",
    "predict_step",
    "configure_optimizers",
    "configure_callbacks",
)
_OURS = ("fulmen.", "torch.", "builtins")


def _known(owner: object) -> set[str]:
    return {
        name
        for base in type(owner).__mro__
        if base.__module__.startswith(_OURS)
        for name in vars(base)
        if name.startswith("on_") or name in _STEPS
    }


def _distance(a: str, b: str, limit: int) -> int:
    """The number of single-letter edits between two words (Levenshtein), or more than `limit`."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def check_names(owner: object, limit: int = 2) -> None:
    """Raises if a class of the user's has a method whose name is almost, but not quite, a hook's.

    Args:
        owner: A module, data module or callback.
        limit: How many letters may differ for a name to count as misspelled.

    Raises:
        MisconfigurationException: Naming the method and the hook that was probably meant.
    """
    known = _known(owner)
    for base in type(owner).__mro__:
        if base.__module__.startswith(_OURS):
            continue
        for name, value in vars(base).items():
            if name in known or not callable(value) or not _looks_like_hook(name):
                continue
            near = min(known, key=lambda hook: _distance(name, hook, limit))
            if _distance(name, near, limit) <= limit:
                _refuse(base, name, near)


def _looks_like_hook(name: str) -> bool:
    return name.startswith("on_") or name.endswith("_step") or name.startswith("configure_")


def _refuse(base: type[Any], name: str, near: str) -> None:
    raise MisconfigurationException(
        f"`{base.__name__}.{name}` is no hook and would never be called.",
        got=name,
        fix=f"Did you mean `{near}`? If it is a method of your own, give it a name that is further from a hook's.",
    )
