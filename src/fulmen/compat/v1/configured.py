"""What ``configure_optimizers`` may return in 1.x beyond today: frequencies, and numbers of optimizers."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from fulmen.compat import v1
from fulmen.compat.v1.by_index import ByIndex
from fulmen.compat.v1.heard import present, put, users
from fulmen.compat.v1.hints import hint
from fulmen.compat.v1.old_calls import put_scheduler_turns
from fulmen.compat.v1.splits import FormerManual, steps_of
from fulmen.compat.v1.step import former_step, put_step
from fulmen.core.named_optimizers import named_optimizers
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


def put_configure(trainer: Trainer, module: LightningModule) -> None:
    """Has what a module's ``configure_optimizers`` returns read as in 1.x, and the kind of optimization chosen by it.

    Args:
        trainer: Who runs it.
        module: The module.
    """
    if users(module, "configure_optimizers") is None:
        return
    method = present(module, "configure_optimizers")

    @functools.wraps(method)
    def configure_optimizers() -> Any:
        returned, frequencies = read(method())
        trainer.strategy.__dict__["optimizer_frequencies"] = list(frequencies)
        if frequencies:
            hint(
                '`"frequency"` of an optimizer',
                "optimizers by name, and from `training_step` the losses of those whose turn it is: "
                '`return {"a": loss} if batch_idx % 6 < 5 else {"b": loss}`.',
            )
            put_scheduler_turns(trainer, module)
        _choose(module, returned)
        return returned

    put(module, "configure_optimizers", configure_optimizers)


def _choose(module: LightningModule, returned: Any) -> None:
    """Chooses the kind of optimization, and has the step called as that needs."""
    step, split = former_step(module), steps_of(module) > 0
    if split:
        hint("`truncated_bptt_steps`", "split the batch in `training_step`, under `automatic_optimization = False`.")
    if not module.automatic_optimization:
        if split:
            put_step(module).split = True
        if split or v1.version() == "1.5":
            module.__dict__["_optimization_kind"] = FormerManual
        return
    several = count_of(returned) > 1 and named_optimizers(returned) is None
    if several or split or (step is not None and step.old):
        put_step(module)
        module.__dict__["_optimization_kind"] = ByIndex


def count_of(returned: Any) -> int:
    """How many optimizers ``configure_optimizers`` returned, where it has one of the known shapes."""
    if isinstance(returned, Mapping):
        return len(named_optimizers(returned) or "1")
    if isinstance(returned, Sequence) and not isinstance(returned, str) and returned:
        first = returned[0]
        return len(returned) if isinstance(first, (Optimizer, Mapping)) else len(first) if _is_list(first) else 1
    return 1


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def read(returned: Any) -> tuple[Any, tuple[int, ...]]:
    """Takes out what today has no word for.

    Args:
        returned: What ``configure_optimizers`` returned.

    Returns:
        The same in a shape of today, and for how many batches each optimizer works before the next does.

    Raises:
        ValueError: If only some of the optimizers have a frequency.
        MisconfigurationException: If a scheduler's ``opt_idx`` is that of another optimizer.
    """
    if isinstance(returned, Mapping):
        return (_without_frequency(returned, 0), ()) if "optimizer" in returned else (returned, ())
    if not _is_list(returned) or not returned:
        return returned, ()
    if all(isinstance(one, Mapping) for one in returned):
        given = [one["frequency"] for one in returned if one.get("frequency") is not None]
        if given and (len(given) != len(returned) or not all(type(n) is int and n > 0 for n in given)):
            raise MisconfiguredValue(
                "Each optimizer has a frequency, an int from 1 up, or none has one.",
                got=[one.get("frequency") for one in returned],
                fix='`return [{"optimizer": a, "frequency": 5}, {"optimizer": b, "frequency": 1}]`.',
            )
        turns = tuple(given) if len(given) > 1 else ()
        return [_without_frequency(one, index) for index, one in enumerate(returned)], turns
    if len(returned) == 2 and _is_list(returned[0]) and _is_list(returned[1]):
        optimizers, schedulers = returned
        return (optimizers, [_without_index(one, optimizers) for one in schedulers]), ()
    return returned, ()


def _without_frequency(config: Mapping[str, Any], index: int) -> dict[str, Any]:
    rest = {key: value for key, value in config.items() if key != "frequency"}
    if isinstance(rest.get("lr_scheduler"), Mapping):
        rest["lr_scheduler"] = _without_index(rest["lr_scheduler"], None, index)
    return rest


def _without_index(scheduler: Any, optimizers: Sequence[Any] | None, index: int | None = None) -> Any:
    if not isinstance(scheduler, Mapping) or "opt_idx" not in scheduler:
        return scheduler
    said = scheduler["opt_idx"]
    if optimizers is not None:
        own = getattr(scheduler.get("scheduler"), "optimizer", None)
        index = next((i for i, one in enumerate(optimizers) if one is own), said)
    if said is not None and said != index:
        raise MisconfigurationException(
            "The `opt_idx` of a scheduler is the number of the optimizer that it was made with.",
            got=f"opt_idx={said} for the optimizer {index}",
            fix='Leave `"opt_idx"` out.',
        )
    return {key: value for key, value in scheduler.items() if key != "opt_idx"}
