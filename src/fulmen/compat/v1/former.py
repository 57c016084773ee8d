"""The companion of a run that has something of 1.x: it hears of every event before all others, and fires old ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fulmen.callbacks.callback import Callback
from fulmen.compat.v1.heard import present, put, users
from fulmen.core.module import LightningModule
from fulmen.loops.hooks import ARGUMENTS
from fulmen.loops.log_rules import RULES

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

# Where `self.log` may be called in 1.x beyond today's hooks, and the hook of today with the same defaults.
for _old, _today in {
    "training_step_end": "training_step", "on_batch_start": "training_step", "on_batch_end": "training_step",
    "validation_step_end": "validation_step", "test_step_end": "test_step",
    "training_epoch_end": "on_train_epoch_end", "validation_epoch_end": "on_validation_epoch_end",
    "test_epoch_end": "on_test_epoch_end", "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
}.items():  # fmt: skip
    RULES[_old] = RULES[_today]


def former_of(trainer: Trainer, owner: object = None) -> Former:
    """The companion of a run, made where there is none yet.

    Args:
        trainer: The Trainer.
        owner: Who needs it; before the module is attached that is the module.
    """
    for companion in trainer.companions:
        if isinstance(companion, Former):
            return companion
    module = owner if isinstance(owner, LightningModule) else trainer.lightning_module
    made = Former(trainer, module)
    trainer.companions = (made, *trainer.companions)
    return made


class Former(Callback):
    """Calls functions at events, ahead of all callbacks or after the module.

    Args:
        trainer: Whose run it is.
        module: What is run.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self.trainer, self.module = trainer, module
        self.parts: dict[type, Any] = {}
        self._before: dict[str, list[Callable[..., Any]]] = {}
        self._after: dict[str, list[Callable[[], Any]]] = {}

    def listens_to(self, event: str) -> bool:
        """Only what this run has a use for."""
        return event in self._before

    def begin(self, event: str, *args: Any) -> None:
        """Calls what is to come ahead of all callbacks."""
        for function in self._before.get(event, ()):
            function(*args)

    def ahead(self, event: str, function: Callable[..., Any]) -> None:
        """Has a function called when an event begins.

        Args:
            event: The event.
            function: Is called with what the event brings; given twice, it is called once.
        """
        functions = self._before.setdefault(event, [])
        if function not in functions:
            functions.append(function)

    def afterwards(self, event: str, function: Callable[[], Any]) -> None:
        """Has a function called after the module's own hook, which is the last but for what saves and judges.

        Args:
            event: The name of the module's hook.
            function: The function; given twice, it is called once.
        """
        functions = self._after.get(event)
        if functions is None:
            functions = self._after[event] = []
            module = self.module
            method, todo = present(module, event), functions

            @functools.wraps(method)
            def then(*args: Any, **kwargs: Any) -> Any:
                answer = method(*args, **kwargs)
                for one in todo:
                    one()
                return answer

            put(module, event, then)
        if function not in functions:
            functions.append(function)

    @contextmanager
    def hook(self, name: str) -> Iterator[None]:
        """What is logged inside belongs to a hook of 1.x."""
        book = self.trainer.logbook
        before = book.hook, book.entries
        book.enter(name)
        yield
        book.hook, book.entries = before

    def fire(self, event: str) -> Any:
        """Calls those who hear of an event of 1.x: callbacks, then the module.

        Args:
            event: The event.

        Returns:
            What the module's hook returned.
        """
        trainer, module = self.trainer, self.module
        with self.hook(event):
            for callback in trainer.callbacks:
                heard = users(callback, event)
                if heard is not None:
                    heard(trainer, module)
            own = users(module, event)
            return None if own is None else own()


def _listener(event: str) -> Callable[..., None]:
    def listen(self: Former, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.begin(event, *args)

    listen.__name__ = event
    return listen


for _event in ARGUMENTS:
    setattr(Former, _event, _listener(_event))
