"""States in checkpoints of Lightning 1.x, whose owners they find by other names than today's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fulmen.utilities.imports import at_least

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_LEGACY = "legacy_pytorch-lightning_version"
# What the state of a scaler of losses was called: until 1.5, until 1.8, and until 2.0.
_SCALERS = (
    "native_amp_scaling_state",
    "NativeMixedPrecisionPlugin",
    "ShardedNativeMixedPrecisionPlugin",
    "FullyShardedNativeMixedPrecisionPlugin",
    "FullyShardedNativeNativeMixedPrecisionPlugin",
    "MixedPrecisionPlugin",
)


def states_by_callback(callbacks: Sequence[Any], states: Mapping[Any, Any]) -> tuple[dict[int, Any], list[str]]:
    """Whose state is which.

    Args:
        callbacks: The callbacks of a run.
        states: States by key: a callback's ``state_key``, or the bare name of its class, as in files before 1.5. There
            the last callback of a class left its state, and later ones say which metric it was about.

    Returns:
        States by the place of the callback, and the keys of those that are nobody's.
    """
    keys, lost = [callback.state_key for callback in callbacks], []
    found = {index: states[key] for index, key in enumerate(keys) if key in states}
    for key, state in states.items():
        if key in keys:
            continue
        name = key.__qualname__ if isinstance(key, type) else key
        owners = [
            index
            for index, callback in enumerate(callbacks)
            if index not in found and type(callback).__qualname__ == name and _is_about(callback, state)
        ]
        if owners:
            found[owners[-1]] = state
        else:
            lost.append(str(key))
    return found, sorted(lost)


def _is_about(callback: Any, state: Any) -> bool:
    if not isinstance(state, Mapping) or "monitor" not in state:
        return True
    return bool(getattr(callback, "monitor", None) == state["monitor"])


def precision_state(name: str, checkpoint: Mapping[str, Any]) -> Any:
    """The state of a precision.

    Args:
        name: The name of its class.
        checkpoint: The checkpoint.

    Returns:
        The state; None if there is none.
    """
    names: Iterable[str] = (name, *_SCALERS) if name == "MixedPrecision" else (name,)
    return next((checkpoint[key] for key in names if checkpoint.get(key)), None)


def written_before(checkpoint: Mapping[str, Any], version: str) -> bool:
    """Whether a checkpoint that has the layout of today was written by a version before another."""
    written = checkpoint.get(_LEGACY)
    return isinstance(written, str) and not at_least(written, version)


def recount(checkpoint: Mapping[str, Any], counts: dict[str, Any], named: bool) -> None:
    """Counts updates where versions 1.6 to 1.9 counted the steps of each of several optimizers.

    Args:
        checkpoint: The checkpoint.
        counts: Our counts, changed in place.
        named: Whether the optimizers have names, so that all of them together make one step.
    """
    optimizers = len(checkpoint.get("optimizer_states") or ())
    if optimizers < 2 or not written_before(checkpoint, "2.0.0") or written_before(checkpoint, "1.6.0"):
        return
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]
    if progress["optimizer"]["step"]["total"]["completed"]:
        counts["windows"] = counts["steps"] // optimizers
        if named:
            counts["steps"] = counts["windows"]


def catch_up(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Takes the step of schedulers that versions before 1.6 took when an epoch's checkpoint was written already.

    Args:
        trainer: Whose epoch is over, and whose schedulers have their states.
        checkpoint: The checkpoint.
    """
    if not written_before(checkpoint, "1.6.0") or trainer.progress.phase != "between":
        return
    for config in trainer.lr_scheduler_configs:
        scheduler: Any = config.scheduler
        made, due = getattr(scheduler, "last_epoch", None), trainer.progress.epoch // config.frequency
        if config.interval == "epoch" and not config.reduce_on_plateau and made == due - 1:
            scheduler.step()
