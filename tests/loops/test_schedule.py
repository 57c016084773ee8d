from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import Manual, Net, data, fit
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from fulmen.loops.metrics import Metrics
from fulmen.loops.progress import Progress
from fulmen.loops.schedule import LearningRates, ValidationPlan
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.types import LRSchedulerConfig


class Counter:
    """A scheduler that notes with what it was stepped."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def step(self, *args: Any) -> None:
        self.steps.append(args)


def rates(*configs: LRSchedulerConfig, module: Any = None, **values: float) -> LearningRates:
    metrics = Metrics(Progress())
    metrics._callback.update({key: torch.tensor(value) for key, value in values.items()})
    return LearningRates(configs, module or Net(), metrics, Progress())


@given(st.sampled_from(["step", "epoch"]), st.booleans(), st.integers(1, 4), st.integers(1, 9))
def test_who_is_due(interval: str, plateau: bool, frequency: int, count: int) -> None:
    counter, other = Counter(), Counter()
    configs = [
        LRSchedulerConfig(counter, interval=interval, frequency=frequency, reduce_on_plateau=plateau, monitor="a"),
        LRSchedulerConfig(other, interval={"step": "epoch", "epoch": "step"}[interval]),
    ]  # type: ignore[arg-type]
    due = rates(*configs, a=2.0)
    for index in range(count):
        due.step(interval, plateau, index)
    assert counter.steps == [(torch.tensor(2.0),) if plateau else ()] * (count // frequency)
    assert other.steps == []


def test_an_override_steps_in_its_own_way() -> None:
    calls: list[Any] = []

    class Mine(Net):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            calls.append((scheduler, metric))

    plain, plateau = Counter(), Counter()
    due = rates(LRSchedulerConfig(plain), LRSchedulerConfig(plateau, reduce_on_plateau=True, monitor="a"),
                module=Mine(), a=1.0)  # type: ignore[arg-type]  # fmt: skip
    due.step("epoch", False, 0)
    due.step("epoch", True, 0)
    assert calls == [(plain, None), (plateau, torch.tensor(1.0))]


def test_a_metric_that_is_missing() -> None:
    strict = LRSchedulerConfig(Counter(), reduce_on_plateau=True, monitor="b")  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match=r"\['a'\]\n.*self\.log\('b', value\).*\"strict\": False"):
        rates(strict, a=1.0).step("epoch", True, 0)
    patient = Counter()
    config = LRSchedulerConfig(patient, reduce_on_plateau=True, monitor="b", strict=False)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="Its step was skipped"):
        rates(config, a=1.0).step("epoch", True, 0)
    assert patient.steps == []


@pytest.mark.parametrize(
    ("interval", "frequency", "accumulate", "expected"),
    [
        ("step", 1, 1, [0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("step", 2, 1, [1.0, 0.5, 0.5, 0.25, 0.25]),
        ("step", 1, 2, [1.0, 0.5, 0.5, 0.25, 0.125]),
        ("epoch", 1, 1, [1.0, 1.0, 1.0, 1.0, 0.5]),
    ],
)
def test_rates_of_a_run(interval: str, frequency: int, accumulate: int, expected: list[float]) -> None:
    seen: list[float] = []

    class Scheduled(Net):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), 1.0)
            return [optimizer], [{"scheduler": StepLR(optimizer, 1, 0.5), "interval": interval, "frequency": frequency}]

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    fit(Scheduled(), data(5), accumulate_grad_batches=accumulate)
    assert seen == expected


def test_a_plateau_waits_for_the_epochs_value() -> None:
    seen: list[float] = []

    class Watches(Net):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), 1.0)
            plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "stuck"}

        def on_train_epoch_start(self) -> None:
            seen.append(self.trainer.optimizers[0].param_groups[0]["lr"])

        def on_train_epoch_end(self) -> None:
            self.log("stuck", 1.0)

    fit(Watches(), max_epochs=4)
    assert seen == [1.0, 1.0, 0.5, 0.25]


def due_at(plan: ValidationPlan, batches: int, epochs: int, stop_after: int | None = None) -> list[tuple[int, int]]:
    found = []
    for epoch in range(epochs):
        for index in range(batches):
            total = epoch * batches + index
            if plan.due(index, total, epoch, index + 1 == batches, total == stop_after):
                found.append((epoch, index))
    return found


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 4))
def test_intervals_are_counted_in_each_epoch(interval: int, batches: int, epochs: int) -> None:
    expected = [(e, i) for e in range(epochs) for i in range(batches) if (i + 1) % interval == 0]
    assert due_at(ValidationPlan(interval, 1), batches, epochs) == expected


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 4))
def test_or_across_epochs(interval: int, batches: int, epochs: int) -> None:
    expected = [(e, i) for e in range(epochs) for i in range(batches) if (e * batches + i + 1) % interval == 0]
    assert due_at(ValidationPlan(interval, None), batches, epochs) == expected


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6))
def test_at_the_end_of_some_epochs(every: int, batches: int, epochs: int) -> None:
    expected = [(e, batches - 1) for e in range(epochs) if (e + 1) % every == 0]
    assert due_at(ValidationPlan(math.inf, every), batches, epochs) == expected


def test_a_request_to_stop_validates_at_once() -> None:
    assert due_at(ValidationPlan(math.inf, 1), 4, 1, stop_after=1) == [(0, 1), (0, 3)]
    assert due_at(ValidationPlan(math.inf, 2), 4, 1, stop_after=1) == []
    assert due_at(ValidationPlan(1, 1, enabled=False), 4, 1, stop_after=1) == []


def test_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    plan, found = ValidationPlan(math.inf, 1, seconds=10.0), []
    for index in range(8):
        now += 4.0
        if plan.due(index, index, 0, index == 7, False):
            found.append(index)
    assert found == [2, 5]


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("plateau", [True, False])
def test_under_manual_optimization_nobody_else_steps_schedulers(interval: str, plateau: bool) -> None:
    class Own(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.optimizers().step()
            self.log("loss", 1.0)

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), 0.1)
            self.scheduler = ReduceLROnPlateau(optimizer) if plateau else StepLR(optimizer, 1)
            self.before = self.scheduler.last_epoch
            config = {"scheduler": self.scheduler, "interval": interval}
            return [optimizer], [{**config, "monitor": "loss"} if plateau else config]

    model = Own()
    fit(model, data(3), max_epochs=2)
    assert model.scheduler.last_epoch == model.before
