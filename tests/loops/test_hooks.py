from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.runs import Net, fit

from fulmen.callbacks.callback import Callback
from fulmen.core.hooks import ModelHooks
from fulmen.loops.hooks import ARGUMENTS, Hooks, nobody
from fulmen.loops.logbook import LogBook
from fulmen.loops.results import Results
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities.exceptions import MisconfigurationException

TRAINER: Any = SimpleNamespace(strategy=SingleDeviceStrategy())


def listener(base: type, log: list[str], name: str, *events: str, **members: Any) -> Any:
    def make(event: str) -> Any:
        return lambda self, *args: log.append(f"{name}.{event}")

    return type(name, (base,), {**{event: make(event) for event in events}, **members})()


def table(module: Any, *callbacks: Any, wrap: Any = None) -> Hooks:
    return Hooks(TRAINER, module, callbacks, LogBook(), wrap)


@pytest.mark.parametrize(("event", "count"), ARGUMENTS.items())
def test_the_table_agrees_with_what_is_documented(event: str, count: int) -> None:
    assert len(inspect.signature(getattr(Callback, event)).parameters) == count + 3
    if hasattr(ModelHooks, event):
        assert len(inspect.signature(getattr(ModelHooks, event)).parameters) == count + 1
    assert event in Hooks.__annotations__


def test_nobody_listens_to_nothing() -> None:
    hooks = table(Net())
    assert all(getattr(hooks, event) is nobody for event in ARGUMENTS)
    assert nobody(1, 2) is None
    assert set(hooks.listeners) == set(ARGUMENTS)
    assert not any(hooks.listeners.values())


@pytest.mark.parametrize("event", ARGUMENTS)
def test_callbacks_in_order_then_the_module(event: str) -> None:
    log: list[str] = []
    callbacks = [listener(Callback, log, name, event) for name in ("First", "Second")]
    module = listener(Net, log, "Module", event)
    hooks = table(module, *callbacks)
    getattr(hooks, event)(*range(ARGUMENTS[event]))
    heard = ["First", "Second", *(["Module"] if hasattr(ModelHooks, event) else [])]
    assert log == [f"{name}.{event}" for name in heard]
    assert hooks.listeners[event] == log


def test_those_that_judge_an_epoch_come_after_the_module() -> None:
    log: list[str] = []
    event = "on_train_epoch_end"
    judge = listener(Callback, log, "Judge", event, "on_train_start", judges_epoch=True)
    other = listener(Callback, log, "Other", event, "on_train_start")
    hooks = table(listener(Net, log, "Module", event, "on_train_start"), judge, other)
    hooks.on_train_epoch_end()
    hooks.on_train_start()
    assert [label.partition(".")[0] for label in log] == ["Other", "Module", "Judge", "Judge", "Other", "Module"]


def test_callbacks_get_trainer_and_module_first() -> None:
    got: list[Any] = []

    class Hears(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            got.extend([trainer, pl_module, batch, batch_idx])

    module = Net()
    table(module, Hears()).on_train_batch_start("batch", 3)
    assert got == [TRAINER, module, "batch", 3]


def test_a_callback_can_say_that_it_does_not_listen() -> None:
    log: list[str] = []

    def listens_to(self: Any, event: str) -> bool:
        return event == "on_train_end"

    hooks = table(Net(), listener(Callback, log, "Deaf", "on_train_start", "on_train_end", listens_to=listens_to))
    assert hooks.on_train_start is nobody
    hooks.on_train_end()
    assert log == ["Deaf.on_train_end"]


def answering(base: type, answer: Any) -> Any:
    return type("Answers", (base,), {"on_train_batch_start": lambda self, *args: answer})()


@pytest.mark.parametrize(
    ("callback", "module", "skips"),
    [(None, -1, True), (0, -1, True), (-1, None, False), (None, 0, False), (None, -1.0, False), (None, True, False)],
)
def test_minus_one_from_the_module_skips(callback: Any, module: Any, skips: bool) -> None:
    hooks = table(answering(Net, module), answering(Callback, callback))
    assert hooks.on_train_batch_start("batch", 0) == (-1 if skips else None)
    assert table(Net(), answering(Callback, -1)).on_train_batch_start("batch", 0) is None


def test_a_listener_set_on_the_instance_counts() -> None:
    module = Net()
    module.on_train_start = lambda: None  # type: ignore[method-assign]
    assert table(module).listeners["on_train_start"] == ["Net.on_train_start"]


def test_what_cannot_be_called_as_it_will_be_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match=r"def on_train_epoch_end\(self\)"):
        table(type("Mine", (Net,), {"on_train_epoch_end": lambda self, outputs: None})())


def test_a_wrapper_gets_the_name_and_goes_around() -> None:
    log: list[str] = []

    def wrap(name: str, function: Any) -> Any:
        return lambda *args: (log.append(name), function(*args))

    hooks = table(
        listener(Net, log, "Module", "on_fit_start"), listener(Callback, log, "Hears", "on_fit_start"), wrap=wrap
    )
    hooks.on_fit_start()
    assert log == [
        "[Callback]Hears.on_fit_start", "Hears.on_fit_start", "[LightningModule]Module.on_fit_start",
        "Module.on_fit_start",
    ]  # fmt: skip


def test_what_listeners_log_goes_under_the_hooks_name() -> None:
    class Logs(Net):
        def on_train_epoch_end(self) -> None:
            self.log("a", 1.0)

    module, book = Logs(), LogBook()
    module.__dict__["_logbook"] = book
    results = Results(module, training=True, device=torch.device("cpu"))
    hooks = Hooks(TRAINER, module, [], book)
    book.open(results)
    book.enter("training_step")
    hooks.on_train_epoch_end()
    assert book.hook == "training_step"
    assert [entry.hook for entry in results.entries()] == ["on_train_epoch_end"]


def test_a_run_makes_a_table_for_each_stage() -> None:
    trainer = fit(Net())
    first = trainer.hooks
    trainer.predict(trainer.lightning_module, torch.ones(2, 1, 2))
    assert trainer.hooks is not first
