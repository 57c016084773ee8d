from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import Net, data, fit
from torch import Tensor

from fulmen.core.logging import LogOptions
from fulmen.loops.metrics import Metrics
from fulmen.loops.progress import Progress
from fulmen.loops.results import Results


class Listens:
    """A logger that keeps what it gets."""

    def __init__(self) -> None:
        self.lines: list[tuple[dict[str, float], int]] = []
        self.saved = 0

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.lines.append((dict(metrics), step))

    def save(self) -> None:
        self.saved += 1


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(Progress(epoch=2, steps=7, windows=5))
    made.loggers = [Listens(), Listens()]  # type: ignore[list-item]
    return made


def results(training: bool = True, **logged: Any) -> Results:
    made = Results(Net(), training=training, device=torch.device("cpu"))
    hook = "training_step" if training else "validation_step"
    made.begin_batch(torch.ones(2, 2), 0)
    for name, (value, options) in logged.items():
        asked = LogOptions(False, None, None, None, "mean", False, False, None, True, None, False)._replace(**options)
        made.admit(name, value, asked, hook).take(value, 1)
    return made


BOTH = {"on_step": True, "on_epoch": True}


def numbers(values: dict[str, Tensor]) -> dict[str, float]:
    return {key: value.item() for key, value in values.items()}


def test_values_are_read_when_somebody_asks(metrics: Metrics) -> None:
    found = results(a=(1.0, {}), b=(2.0, BOTH), c=(3.0, {"on_step": False, "on_epoch": True}))
    metrics.watch(found, "step")
    assert numbers(metrics.callback) == {"a": 1.0, "b": 2.0, "b_step": 2.0}
    found.tables(None)["training_step"]["a"].take(5.0, 1)
    assert metrics.callback["a"] == 5.0
    metrics.watch(found, "epoch")
    assert numbers(metrics.callback) == {"a": 5.0, "b": 2.0, "b_step": 2.0, "b_epoch": 2.0, "c": 3.0}
    metrics.watch(None)
    assert metrics.callback["c"] == 3.0


def test_evaluations_show_callbacks_the_epochs_values_alone(metrics: Metrics) -> None:
    metrics.watch(results(training=False, a=(1.0, BOTH)), "step")
    assert metrics.callback == {}
    assert numbers(metrics.logged) == {"a_step": 1.0}


def test_who_gets_which_value(metrics: Metrics) -> None:
    metrics.watch(
        results(a=(1.0, {"prog_bar": True, "logger": False}), b=(2.0, {"prog_bar": True, **BOTH}), c=(3.0, {}))
    )
    assert metrics.bar == {"a": 1.0, "b_step": 2.0}
    assert numbers(metrics.logged) == {"b_step": 2.0, "c": 3.0}


def test_when_a_value_was_made(metrics: Metrics) -> None:
    found = results(a=(1.0, {}), b=(1.0, {"on_step": False, "on_epoch": True}))
    metrics.watch(found, "step")
    assert (metrics.made_at("a"), metrics.made_at("b"), metrics.made_at("c")) == (7, None, None)
    metrics.progress.steps = 8
    found.begin_batch(torch.ones(2, 2), 1)  # and `a` is not logged in it
    assert metrics.made_at("a") is None
    metrics.watch(found, "epoch")
    assert metrics.made_at("b") == 8


def test_settling_keeps_what_there_was(metrics: Metrics) -> None:
    found = results(a=(1.0, {}))
    metrics.watch(found, "step")
    metrics.settle()
    found.tables(None)["training_step"]["a"].take(5.0, 1)
    assert metrics.callback["a"] == 1.0
    metrics.reset()
    assert metrics.callback == metrics.logged == metrics.bar == {}
    assert metrics.made_at("a") is None


def test_loggers_get_numbers_a_step_and_the_epoch(metrics: Metrics) -> None:
    metrics.send({"a": torch.tensor(1.5)}, 4)
    metrics.send({"a": torch.tensor(2.5)}, 5, epoch=False)
    metrics.send({"epoch": torch.tensor(9.0)}, 6)
    metrics.send({"a": torch.tensor(1.0), "step": torch.tensor(42.0)}, 7)
    metrics.send({}, 8)
    expected = [({"a": 1.5, "epoch": 2}, 4), ({"a": 2.5}, 5), ({"epoch": 9.0}, 6), ({"a": 1.0}, 42)]
    for logger in metrics.loggers:
        assert isinstance(logger, Listens)
        assert logger.lines == expected
        assert logger.saved == 4


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3]), (2, [1, 3]), (50, []), (0, [])])
def test_steps_that_are_logged(metrics: Metrics, every: int, due: list[int]) -> None:
    metrics.log_every_n_steps = every
    assert [window for window in range(4) if metrics.due_at(window)] == due


def test_a_step_goes_out_with_the_number_of_its_window(metrics: Metrics) -> None:
    metrics.watch(results(a=(1.0, {}), b=(2.0, {"logger": False})), "step")
    metrics.send_step()
    assert metrics.loggers[0].lines == [({"a": 1.0, "epoch": 2}, 5)]  # type: ignore[attr-defined]
    metrics.loggers = []
    metrics.send_step()


def test_the_trainers_views_are_live() -> None:
    seen: list[Any] = []

    class Watches(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a", float(batch_idx), prog_bar=True)
            seen.append((self.trainer.callback_metrics["a"].item(), self.trainer.progress_bar_metrics["a"]))
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self) -> None:
            seen.append(self.trainer.metric_step("a"))

    fit(Watches(), data(2))
    assert seen == [(0.0, 0.0), (1.0, 1.0), 2]
