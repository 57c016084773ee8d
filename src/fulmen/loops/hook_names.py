"""Finds methods that look like a hook but are none, before they are silently never called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.hooks import ModelHooks
from fulmen.core.module import LightningModule
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import warn_once

_STEPS = ("training_step", "validation_step", "test_step", "predict_step", "optimizer_step", "lr_scheduler_step")
_OURS = ("fulmen.", "torch.", "builtins")

# Words that people use for those in the names of hooks and loaders.
_EVENT_WORDS = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "testing": "test",
    "prediction": "predict",
    "begin": "start",
    "finish": "end",
}
_LOADER_WORDS = {"training": "train", "validation": "val", "valid": "val", "testing": "test", "prediction": "predict"}


def check_names(owner: object) -> None:
    """Raises if a class of the user's has a method whose name is almost, but not quite, a hook's.

    A method of such a name beside the hook itself is taken for one of the user's own.

    Args:
        owner: A module, data module or callback.

    Raises:
        MisconfigurationException: Naming the method and the hook that was probably meant.
    """
    known = _known(type(owner))
    methods = dict(_own_methods(type(owner)))
    elsewhere, place = _elsewhere(owner, known)
    for name, base in methods.items():
        if name in known:
            continue
        if name in elsewhere:
            warn_once(
                f"`{base.__name__}.{name}` is never called: `{type(owner).__name__}` does not hear of that event. "
                f"Write it in {place}."
            )
        elif (near := closest_hook(name, known | elsewhere)) is not None and near not in methods:
            raise MisconfigurationException(
                f"`{base.__name__}.{name}` is no hook and would never be called.",
                got=name,
                fix=f"Did you mean `{near}`?"
                + (f" Write it in {place}." if near in elsewhere else "")
                + " If it is a method of your own, give it a name that is further from a hook's.",
            )


def _elsewhere(owner: object, known: set[str]) -> tuple[set[str], str]:
    """The events that others hear of, and who they are."""
    if isinstance(owner, LightningDataModule):
        return _events(vars(ModelHooks)) - known, "the LightningModule or in a Callback"
    if isinstance(owner, LightningModule):
        return _events(vars(Callback)) - known, "a Callback"
    return set(), ""


def _known(kind: type[Any]) -> set[str]:
    ours = {name for base in kind.__mro__ if base.__module__.startswith(_OURS) for name in vars(base)}
    return _events(ours) | {name for name in ours if name in _STEPS or name.startswith("configure_")} | _loaders(ours)


def _events(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("on_")}


def _loaders(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.endswith("_dataloader")}


def _own_methods(kind: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith(_OURS):
            yield from ((name, base) for name, value in vars(base).items() if callable(value))


def closest_hook(name: str, known: set[str]) -> str | None:
    """The hook that a name is probably a misspelling of.

    Args:
        name: The name of a method that is no hook.
        known: The names of hooks.

    Returns:
        The hook's name, or None where the name is not close to any.
    """
    words = _EVENT_WORDS if name.startswith("on_") else _LOADER_WORDS if "_dataloader" in name else {}
    plain = "_".join(words.get(word, word) for word in name.split("_"))
    for candidate in (plain, plain.removesuffix("s")):
        if candidate in known:
            return candidate
    if not name.startswith(("on_", "configure_")) and "_step" not in name:
        return None
    limit = 0 if len(name) < 10 else 1 if len(name) < 14 else 2  # a short word has many neighbours
    near = min(sorted(known), key=lambda hook: _distance(name, hook, limit), default="")
    return near if _distance(name, near, limit) <= limit else None


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
