"""Finds methods that look like a hook but are none, before they are silently never called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.hooks import ModelHooks
from fulmen.core.module import LightningModule
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredHook
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

# Hooks of Lightning 1.x that got the outputs of all steps, and what took their place.
_WITH_OUTPUTS = {
    "training_epoch_end": "on_train_epoch_end",
    "validation_epoch_end": "on_validation_epoch_end",
    "test_epoch_end": "on_test_epoch_end",
}
# Hooks of Lightning 1.x that Lightning 2 no longer calls, and what took their place.
_FORMER = {
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "on_keyboard_interrupt": "on_exception",
    "training_step_end": "training_step",
    "validation_step_end": "validation_step",
    "test_step_end": "test_step",
}


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
        elif (name in _WITH_OUTPUTS or name in _FORMER) and (name.startswith("on_") or "training_step" in known):
            _check_former(base, name, methods)
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


def _check_former(base: type[Any], name: str, methods: dict[str, Any]) -> None:
    if name in _WITH_OUTPUTS:
        raise MisconfiguredHook(
            f"`{base.__name__}.{name}` is a hook of Lightning 1.x.",
            got=name,
            fix=f"Write `def {_WITH_OUTPUTS[name]}(self)`. For the outputs of the steps, append them to a list of your "
            "own in the step, and clear it there.",
        )
    instead = _FORMER[name]
    if instead not in methods or name.endswith("_step_end"):
        warn_once(
            f"`{base.__name__}.{name}` is a hook of Lightning 1.x and is never called. Move what it does to "
            f"`{instead}`."
        )


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
