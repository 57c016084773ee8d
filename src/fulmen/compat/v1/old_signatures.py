"""Hooks that take what 1.x handed them, given what today's events bring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.compat import v1
from fulmen.compat.v1.heard import present, put, taken, users
from fulmen.compat.v1.hints import hint

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback

# What each event brings today, beyond the trainer and the module that callbacks get first.
_BATCHES = {
    "on_train_batch_start": ("batch", "batch_idx"),
    "on_train_batch_end": ("outputs", "batch", "batch_idx"),
    **{f"on_{stage}_batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx") for stage in
       ("validation", "test", "predict")},
}  # fmt: skip
_TRANSFERS = {
    "transfer_batch_to_device": ("batch", "device", "dataloader_idx"),
    "on_before_batch_transfer": ("batch", "dataloader_idx"),
    "on_after_batch_transfer": ("batch", "dataloader_idx"),
}


def adapt_batches(owner: Any, first: tuple[str, ...] = ()) -> None:
    """Fits the hooks of batches to what they get today.

    Args:
        owner: A module or a callback.
        first: What callbacks get before all else.
    """
    for name, brought in _BATCHES.items():
        method = users(owner, name)
        if method is None:
            continue
        names, required = taken(method)
        brought = (*first, *brought)
        without_outputs = "outputs" in brought and names[len(first) : len(first) + 1] == ["batch"]
        if without_outputs or required > len(brought):
            wanted = [name for name in brought if name != "outputs" or not without_outputs]
            hint(f"`{name}({', '.join(names)})`", f"`{name}({', '.join(brought)})`.")
            put(owner, name, _filled(present(owner, name), brought, wanted, required))


def _filled(method: Callable[..., Any], brought: tuple[str, ...], wanted: list[str], count: int) -> Callable[..., Any]:
    """A hook that is given what it wants of what is brought, and zeros for the numbers of loaders or optimizers."""

    def called(*args: Any) -> Any:
        known = dict(zip(brought, args, strict=False))
        values = [known[name] for name in wanted if name in known]
        return method(*values, *[0] * (count - len(values)))

    return called


def adapt_transfers(owner: Any) -> None:
    """Fits the hooks that move batches, which had no number of a loader once, and ``setup`` without a stage.

    Args:
        owner: A module or data module.
    """
    for name, brought in _TRANSFERS.items():
        method = users(owner, name)
        if method is not None and _takes(method) == len(brought) - 1:
            hint(f"`{name}({', '.join(brought[:-1])})`", f"`{name}({', '.join(brought)})`.")
            put(owner, name, _shorter(method, len(brought) - 1))
    _adapt_stage(owner, 0)


def _adapt_stage(owner: Any, first: int) -> None:
    for name in ("setup", "teardown"):
        method = users(owner, name)
        if method is not None and _takes(method) == first and not _takes_anything(method):
            hint(f"`{name}` without `stage`", f"`{name}(self, {'trainer, pl_module, ' if first else ''}stage)`.")
            put(owner, name, _without_stage(method))


def _takes(method: Callable[..., Any]) -> int:
    return -1 if _takes_anything(method) else len(taken(method)[0])


def _takes_anything(method: Callable[..., Any]) -> bool:
    kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
    return not kinds.isdisjoint((inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD))


def _shorter(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda *args: method(*args[:count])


def _without_stage(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, stage=None: method(*args)


def adapt_callback(callback: Callback) -> None:
    """Fits a callback's hooks to what they get today.

    Args:
        callback: The callback.
    """
    adapt_batches(callback, ("trainer", "pl_module"))
    _adapt_stage(callback, 2)
    _adapt_saving(callback)


def _adapt_saving(callback: Callback) -> None:
    save, load = users(callback, "on_save_checkpoint"), users(callback, "on_load_checkpoint")
    today = "return the state from `state_dict(self)` and take it back in `load_state_dict(self, state_dict)`."
    if save is not None:
        put(callback, "on_save_checkpoint", _saving(callback, save, today))
    if load is not None and _wants_state(load):
        hint("`Callback.on_load_checkpoint` with the callback's own state", today)
        put(callback, "on_load_checkpoint", _loading(callback, load))


def _saving(callback: Callback, save: Callable[..., Any], today: str) -> Callable[..., Any]:
    short = _takes(save) == 2

    def on_save_checkpoint(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        state = save(trainer, module) if short else save(trainer, module, checkpoint)
        if state:
            hint("the state that `Callback.on_save_checkpoint` returns", today)
            checkpoint["callbacks"][callback.state_key] = state

    return on_save_checkpoint


def _wants_state(load: Callable[..., Any]) -> bool:
    names, _ = taken(load)
    last = names[-1] if names else "checkpoint"
    return len(names) == 1 or "state" in last or (v1.version() == "1.5" and last != "checkpoint")


def _loading(callback: Callback, load: Callable[..., Any]) -> Callable[..., Any]:
    short = _takes(load) == 1

    def on_load_checkpoint(trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("callbacks", {}).get(callback.state_key)
        if state:
            load(state) if short else load(trainer, module, state)

    return on_load_checkpoint
