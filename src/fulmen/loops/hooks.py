"""The hook table: for each event the listeners that there really are, resolved once, before the first batch.

The order is that of every event: callbacks in the order in which the Trainer holds them, then the module. At the end
of a training epoch those callbacks that judge it (checkpoints, early stopping) come after the module, and at the end of
a batch or a validation those that save: what they write holds what all others did.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.core.hooks import ModelHooks
from fulmen.core.module import overridden
from fulmen.loops.signatures import fit_arguments
from fulmen.strategies.hooks import StrategyHooks
from fulmen.strategies.overrides import override, then
from fulmen.utilities.generations import stand_in

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.loops.logbook import LogBook
    from fulmen.strategies.strategy import Strategy
    from fulmen.trainer.trainer import Trainer

Fire = Callable[..., Any]

# How many arguments each event brings, beyond the trainer and the module that callbacks get first.
ARGUMENTS: dict[str, int] = {
    "on_fit_start": 0, "on_fit_end": 0, "on_sanity_check_start": 0, "on_sanity_check_end": 0,
    "on_train_start": 0, "on_train_end": 0, "on_train_epoch_start": 0, "on_train_epoch_end": 0,
    "on_train_batch_start": 2, "on_train_batch_end": 3,
    "on_before_zero_grad": 1, "on_before_backward": 1, "on_after_backward": 0, "on_before_optimizer_step": 1,
    "on_validation_start": 0, "on_validation_end": 0, "on_validation_epoch_start": 0, "on_validation_epoch_end": 0,
    "on_validation_batch_start": 3, "on_validation_batch_end": 4,
    "on_test_start": 0, "on_test_end": 0, "on_test_epoch_start": 0, "on_test_epoch_end": 0,
    "on_test_batch_start": 3, "on_test_batch_end": 4,
    "on_predict_start": 0, "on_predict_end": 0, "on_predict_epoch_start": 0, "on_predict_epoch_end": 0,
    "on_predict_batch_start": 3, "on_predict_batch_end": 4,
}  # fmt: skip

STRATEGY_EVENTS = frozenset(event for event in ARGUMENTS if hasattr(StrategyHooks, event))


def nobody(*args: Any) -> None:
    """What an event without listeners calls."""


class Hooks:
    """One callable for each event, and who listens to it.

    Args:
        trainer: What callbacks get first.
        module: The module; its own hooks listen too.
        callbacks: In order.
        book: Where the values go that listeners log.
        wrap: What puts a profiler around a listener, given the action's name; None for none.
        agree: Makes the values of a training epoch those of all processes, before they are judged.

    Raises:
        MisconfigurationException: If a listener cannot take what its event brings.
    """

    on_fit_start: Fire
    on_fit_end: Fire
    on_sanity_check_start: Fire
    on_sanity_check_end: Fire
    on_train_start: Fire
    on_train_end: Fire
    on_train_epoch_start: Fire
    on_train_epoch_end: Fire
    on_train_batch_start: Fire
    on_train_batch_end: Fire
    after_train_batch: Fire
    on_before_zero_grad: Fire
    on_before_backward: Fire
    on_after_backward: Fire
    on_before_optimizer_step: Fire
    on_validation_start: Fire
    on_validation_end: Fire
    on_validation_epoch_start: Fire
    on_validation_epoch_end: Fire
    on_validation_batch_start: Fire
    on_validation_batch_end: Fire
    on_test_start: Fire
    on_test_end: Fire
    on_test_epoch_start: Fire
    on_test_epoch_end: Fire
    on_test_batch_start: Fire
    on_test_batch_end: Fire
    on_predict_start: Fire
    on_predict_end: Fire
    on_predict_epoch_start: Fire
    on_predict_epoch_end: Fire
    on_predict_batch_start: Fire
    on_predict_batch_end: Fire

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        callbacks: Iterable[Callback],
        book: LogBook,
        wrap: Callable[[str, Fire], Fire] | None = None,
        agree: Fire | None = None,
    ) -> None:
        callbacks = list(callbacks)
        self.listeners: dict[str, list[str]] = {}
        for event, count in ARGUMENTS.items():
            found = [heard for cb in callbacks if (heard := _of_callback(cb, event, count, trainer, module))]
            own = _of_module(module, event, count)
            late = [heard for cb, heard in zip(_hearing(callbacks, event), found, strict=True) if _is_late(cb, event)]
            order = [heard for heard in found if heard not in late] + ([own] if own else [])
            self.listeners[event] = [label for label, _ in order + late]
            # the module comes last there, and it alone is asked whether to go on with the epoch
            asked = own is not None and event == "on_train_batch_start"

            def fire(heard: list[tuple[str, Fire]], event: str = event, own: Any = own, asked: bool = asked) -> Fire:
                functions = [wrap(_action(one, own), one[1]) if wrap else one[1] for one in heard]
                return _fire(event, functions, book, asked)

            if event == "on_train_batch_end":  # the loggers get the batch's values in between
                setattr(self, event, fire(order))
                self.after_train_batch = fire(late)
            elif event == "on_train_epoch_end" and agree is not None:
                setattr(self, event, fire([*order, ("reduce_values", agree), *late]))
            else:
                setattr(self, event, fire(order + late))
            if event in STRATEGY_EVENTS:
                self._add_strategy(trainer.strategy, event, wrap)

    def _add_strategy(self, strategy: Strategy, event: str, wrap: Callable[[str, Fire], Fire] | None) -> None:
        """Has somebody's own strategy hear of an event, after all others."""
        method = override(strategy, event)
        if method is not None:
            label = f"{type(strategy).__name__}.{event}"
            self.listeners[event].append(label)
            setattr(self, event, then(getattr(self, event), wrap(f"[Strategy]{label}", method) if wrap else method))


def _action(heard: tuple[str, Fire], own: tuple[str, Fire] | None) -> str:
    """What a profiler calls a listener."""
    return f"{'[LightningModule]' if heard is own else '[Callback]'}{heard[0]}"


def _hearing(callbacks: list[Callback], event: str) -> list[Callback]:
    return [cb for cb in callbacks if _listens(cb, event)]


def _listens(callback: Callback, event: str) -> bool:
    if overridden(callback, event, Callback) is None:
        return False
    wants = getattr(callback, "listens_to", None)
    return wants is None or bool(wants(event))


def _of_callback(
    callback: Callback, event: str, count: int, trainer: Trainer, module: LightningModule
) -> tuple[str, Fire] | None:
    if not _listens(callback, event):
        return None
    method = fit_arguments(stand_in(callback, event), count + 2, getattr(Callback, event), _of_loader(event))
    return f"{type(callback).__name__}.{event}", functools.partial(method, trainer, module)


def _of_module(module: LightningModule, event: str, count: int) -> tuple[str, Fire] | None:
    method = overridden(module, event, ModelHooks)
    pattern = getattr(ModelHooks, event, None)
    if method is None or pattern is None:  # the sanity check is for callbacks alone
        return None
    return f"{type(module).__name__}.{event}", fit_arguments(method, count, pattern, _of_loader(event))


def _of_loader(event: str) -> bool:
    """Whether an event brings the number of a loader, which listeners may leave out."""
    return "batch_" in event and "train" not in event


def _is_late(callback: Callback, event: str) -> bool:
    if event == "on_train_epoch_end":
        return bool(getattr(callback, "judges_epoch", False))
    return event in ("on_train_batch_end", "on_validation_end") and bool(getattr(callback, "saves", False))


def _fire(event: str, listeners: list[Fire], book: LogBook, asked: bool) -> Fire:
    if not listeners:
        return nobody

    def fire(*args: Any) -> Any:
        hook, entries = book.hook, book.entries
        book.hook, book.entries = event, book.tables[event]
        answer = None
        for listener in listeners:
            answer = listener(*args)
        book.hook, book.entries = hook, entries
        return -1 if asked and type(answer) is int and answer == -1 else None

    return fire
