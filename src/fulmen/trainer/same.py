"""What has to be the same on all processes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

# What decides how often processes meet, by the method of the Trainer that goes by it. Training may have different
# numbers of batches (docs/uneven.md).
_ARGUMENTS = {
    TrainerFn.FITTING: (
        "max_epochs", "max_steps", "min_epochs", "min_steps", "accumulate_grad_batches", "limit_val_batches",
        "overfit_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps",
    ),
    TrainerFn.VALIDATING: ("limit_val_batches",),
    TrainerFn.TESTING: ("limit_test_batches",),
    TrainerFn.PREDICTING: ("limit_predict_batches",),
}  # fmt: skip


def check_same(trainer: Trainer, fn: TrainerFn) -> None:
    """Has all processes of a run see that they are about to do the same.

    Args:
        trainer: This process's Trainer.
        fn: The method that was called.

    Raises:
        MisconfiguredRun: On all of them, if they are not.
    """
    strategy = trainer.strategy
    if strategy.world_size == 1:
        return
    if strategy.peers is not None:
        strategy.peers.run = fn.value
    everywhere: list[dict[str, str]] = strategy.all_gather_object(_plan(trainer, fn))
    if all(one == everywhere[0] for one in everywhere):
        return
    if len({one["method"] for one in everywhere}) > 1:
        raise MisconfiguredRun(
            "All processes of a run call the same method of the Trainer.",
            got=_by_rank(everywhere, "method"),
            fix="Call `fit`, `validate`, `test` and `predict` on every rank and in the same order, without "
            "`if trainer.is_global_zero`; for what one process does alone, use a `Trainer(devices=1)`.",
        )
    different = [name for name in everywhere[0] if len({one[name] for one in everywhere}) > 1]
    raise MisconfiguredRun(
        "All processes of a run have the same plan, or they would wait for each other forever.",
        got="; ".join(f"{name}: {_by_rank(everywhere, name)}" for name in different),
        fix="Pass the same arguments, callbacks and loaders on every rank, also where `if` asks for the rank.",
    )


def _plan(trainer: Trainer, fn: TrainerFn) -> dict[str, str]:
    """What this process is about to do, as text that can be compared."""
    plan = {"method": f"`{fn.value}`"}
    plan |= {f"`{name}`": repr(getattr(trainer, name)) for name in _ARGUMENTS[fn]}
    plan["precision"] = f"{type(trainer.precision_plugin).__name__} ({trainer.precision})"
    if fn == TrainerFn.FITTING:
        plan["callbacks that save or stop"] = ", ".join(_callbacks(trainer)) or "none"
        plan["validation"] = "with" if trainer.enable_validation else "without"
    return plan


def _callbacks(trainer: Trainer) -> list[str]:
    kinds = (*trainer.checkpoint_callbacks, *trainer.early_stopping_callbacks)
    return [type(one).__name__ for one in trainer.callbacks if any(one is other for other in kinds)]


def _by_rank(everywhere: list[dict[str, str]], name: str) -> str:
    """A value of each rank; ranks that have the same stand together."""
    ranks: dict[str, list[Any]] = {}
    for rank, one in enumerate(everywhere):
        ranks.setdefault(one[name], []).append(rank)
    return ", ".join(f"{value} on rank{'s' if len(who) > 1 else ''} {_few(who)}" for value, who in ranks.items())


def _few(ranks: list[Any]) -> str:
    return ", ".join(map(str, ranks if len(ranks) <= 8 else [*ranks[:7], "..."]))
