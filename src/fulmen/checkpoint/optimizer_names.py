"""Optimizers with names find what they remembered by these, in whatever order they are returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_OPTIMIZERS, _SCHEDULERS = "optimizer_names", "scheduler_names"


def dump_names(trainer: Trainer) -> dict[str, list[str]]:
    """The names of a run's optimizers, and for each scheduler that of its optimizer.

    Args:
        trainer: The Trainer.

    Returns:
        What belongs under ``checkpoint["fulmen"]``; nothing where there are no names.
    """
    names, owners = _names(trainer)
    return {_OPTIMIZERS: names, **({_SCHEDULERS: owners} if owners else {})} if names else {}


def in_order(trainer: Trainer, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose states stand in the order of the optimizers and schedulers of today.

    Args:
        trainer: The Trainer, with its optimizers.
        checkpoint: The checkpoint, which stays as it is.

    Returns:
        The same where one side has no names.

    Raises:
        MisconfigurationException: If a name is missing or too many.
    """
    ours = checkpoint.get("fulmen", {})
    (names, owners), saved = _names(trainer), ours.get(_OPTIMIZERS)
    if not names or not saved:
        return checkpoint
    places = _places("optimizers", saved, names)
    changed = {"optimizer_states": [checkpoint["optimizer_states"][place] for place in places]}
    kinds = {"optimizers": [ours["optimizers"][place] for place in places]}
    schedulers, were = checkpoint.get("lr_schedulers", []), ours.get(_SCHEDULERS, [])
    if len(were) == len(schedulers) and len(owners) == len(trainer.lr_scheduler_configs):
        changed["lr_schedulers"] = [schedulers[place] for place in _places("schedulers", were, owners)]
    return {**checkpoint, **changed, "fulmen": {**ours, **kinds}}


def _names(trainer: Trainer) -> tuple[list[str], list[str]]:
    """Names count only for what `configure_optimizers` returned: callbacks and strategies may exchange it."""
    strategy = trainer.strategy
    names = list(getattr(strategy, "_optimizer_names", ()))
    owners = list(getattr(strategy, "_scheduler_names", ()))
    if len(names) != len(trainer.optimizers):
        return [], []
    return names, owners if len(owners) == len(trainer.lr_scheduler_configs) else []


def _places(what: str, saved: list[str], names: list[str]) -> list[int]:
    if sorted(saved) != sorted(names):
        raise MisconfigurationException(
            f"Where optimizers have names, a run goes on with {what} of the names that it was saved with.",
            got=f"{what} of {saved} in the file, of {names} from `configure_optimizers`",
            fix="Return them by the names in the file, in any order, or start anew from the weights with "
            "`load_from_checkpoint`.",
        )
    return [saved.index(name) for name in names]
