from __future__ import annotations

from typing import Any

from tests.runs import QUIET, Net, data, fit

from fulmen.callbacks.callback import Callback
from fulmen.loops import describe
from fulmen.loops.hooks import ARGUMENTS
from fulmen.trainer.trainer import Trainer


class Hears(Callback):
    def on_train_batch_end(self, *args: Any) -> None: ...


class Own(Net):
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None: ...

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...


def test_every_event_of_fit_is_there_in_its_order() -> None:
    heard: list[str] = []

    def hook(name: str) -> Any:
        return lambda self, *args: heard.append(name)

    class All(Own):
        def configure_optimizers(self) -> Any:
            return super().configure_optimizers()

    names = [name for name in ARGUMENTS if not any(stage in name for stage in ("test", "predict", "sanity"))]
    recorder = type("Recorder", (Callback,), {name: hook(name) for name in names})()
    trainer = fit(All(), data(1), data(1), callbacks=[recorder], num_sanity_val_steps=0)
    shown = [line.split()[0] for line in str(trainer.fit_loop).splitlines()]
    assert [name for name in shown if name in names] == heard
    assert set(names) <= set(shown)


def test_listeners_stand_beside_their_event() -> None:
    trainer = fit(Own(), data(), data(), callbacks=[Hears()])
    lines = {line.split()[0]: line for line in str(trainer.fit_loop).splitlines()}
    assert lines["on_train_batch_end"].split()[1:] == ["Hears,", "Own"]
    assert lines["on_train_batch_end"].startswith(" " * 8 + "on_train_batch_end")
    assert lines["on_fit_start"] == "on_fit_start"


def test_before_there_is_a_model() -> None:
    text = str(Trainer(**QUIET).fit_loop)
    assert text.endswith("(listeners are known once the Trainer has a model)")
    assert len(text.splitlines()) == len(describe._ORDER) + 1
