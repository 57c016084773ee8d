"""Events that only 1.x has: ``on_epoch_start``, ``on_batch_end``, ``on_pretrain_routine_start`` and their like."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.compat.migrate.table import CALLBACK_METHODS, MODULE_METHODS
from fulmen.compat.v1.former import Former, former_of
from fulmen.compat.v1.heard import present, put, users
from fulmen.compat.v1.hints import hint
from fulmen.loops.source import LoaderSource
from fulmen.utilities.generations import stand_in
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_BOTH = (
    "on_epoch_start",
    "on_epoch_end",
    "on_batch_start",
    "on_batch_end",
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_post_move_to_device",
    "on_train_dataloader",
    "on_val_dataloader",
    "on_test_dataloader",
    "on_predict_dataloader",
)
_OF_CALLBACKS = (
    "on_before_accelerator_backend_setup",
    "on_configure_sharded_model",
    "on_keyboard_interrupt",
    "on_init_start",
    "on_init_end",
)
TODAY = {name: MODULE_METHODS[name] for name in _BOTH} | {name: CALLBACK_METHODS[name] for name in _OF_CALLBACKS}
"""What to write in place of an event that is gone."""


def adapt(trainer: Trainer, owner: Any) -> None:
    """Has the events fired that a module, data module or callback listens to.

    Args:
        trainer: The Trainer.
        owner: Who may listen.
    """
    for event, today in TODAY.items():
        if users(owner, event) is not None:
            hint(f"`{event}`", today)
            _arrange(trainer, owner, event)


def _arrange(trainer: Trainer, owner: Any, event: str) -> None:
    former = former_of(trainer, owner)
    if event.endswith("_dataloader"):
        _ask_ahead(trainer, former, event)
    elif event == "on_keyboard_interrupt":
        _hear_interrupt(owner)
    elif event == "on_batch_start":
        _skip_on_request(former)
    else:
        for hook, early in _PLACES.get(event, ()):
            function = _firing(former, event)
            if early:
                former.ahead(hook, function)
            else:
                former.afterwards(hook, function)


_PLACES: dict[str, tuple[tuple[str, bool], ...]] = {
    "on_epoch_start": tuple((f"on_{stage}_epoch_start", True) for stage in ("train", "validation", "test")),
    "on_epoch_end": tuple((f"on_{stage}_epoch_end", False) for stage in ("train", "validation", "test")),
    "on_batch_end": (("on_train_batch_end", False),),
    "on_pretrain_routine_start": (("on_fit_start", False),),
    "on_pretrain_routine_end": (("on_fit_start", False),),
    "on_before_accelerator_backend_setup": (("prepare_data", False),),
    "on_configure_sharded_model": (("setup", False),),
    "on_post_move_to_device": (("on_fit_start", True),),
}
"""Which hook of today an event comes with: ahead of all callbacks, or after the module's own."""


class _Firing:
    """Fires an event of 1.x. Two for the same event are equal, so that it is fired once."""

    def __init__(self, former: Former, event: str) -> None:
        self.former, self.event = former, event

    def __call__(self, *args: Any) -> None:
        self.former.fire(self.event)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Firing) and other.event == self.event

    def __hash__(self) -> int:
        return hash(self.event)


def _firing(former: Former, event: str) -> _Firing:
    return _Firing(former, event)


def _skip_on_request(former: Former) -> None:
    """``on_batch_start``, whose -1 ends the epoch as that of ``on_train_batch_start`` does."""
    if _firing in former.parts:
        return
    answers: list[Any] = [None]
    former.parts[_firing] = answers  # type: ignore[index]
    module = former.module
    own = present(module, "on_train_batch_start")

    def fire(batch: Any, batch_idx: int) -> None:
        answers[0] = former.fire("on_batch_start")

    def on_train_batch_start(batch: Any, batch_idx: int) -> Any:
        return -1 if answers[0] == -1 else own(batch, batch_idx)

    former.ahead("on_train_batch_start", fire)
    put(module, "on_train_batch_start", on_train_batch_start)


def _ask_ahead(trainer: Trainer, former: Former, event: str) -> None:
    """Has an event fired whenever the loaders of a stage are asked for."""
    stage = event.removeprefix("on_").removesuffix("_dataloader")
    fn = trainer.state.fn
    if fn in (None, TrainerFn.FITTING):
        sources = {"train": trainer.fit_loop.data.source, "val": trainer.fit_loop.validation.data.source}
    else:
        source = trainer.loop_of(fn).data.source
        sources = {source.hook.removesuffix("_dataloader"): source}
    if stage in sources:
        sources[stage].__dict__["request"] = functools.partial(_request, sources[stage], former, event)


def _request(source: LoaderSource, former: Former, event: str, trainer: Trainer) -> Any:
    former.fire(event)
    return LoaderSource.request(source, trainer)


def _hear_interrupt(callback: Any) -> None:
    """Calls ``on_keyboard_interrupt`` ahead of ``on_exception``, where the exception is Ctrl-C."""
    method: Callable[..., Any] = stand_in(callback, "on_exception")

    def on_exception(trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            callback.on_keyboard_interrupt(trainer, pl_module)
        method(trainer, pl_module, exception)

    put(callback, "on_exception", on_exception)
