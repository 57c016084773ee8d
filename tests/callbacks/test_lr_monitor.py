from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, Optimizer
from torch.optim.lr_scheduler import StepLR

from fulmen.callbacks import LearningRateMonitor
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.types import LRSchedulerConfig

from .simulated_run import SimulatedRun


class Rows:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        self.rows.append((step, dict(metrics)))


def weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(1))]


def run(
    monitor: LearningRateMonitor,
    optimizers: list[Optimizer],
    schedulers: list[LRSchedulerConfig] | None = None,
    **settings: Any,
) -> list[tuple[int, dict[str, float]]]:
    """Two epochs of two steps."""
    rows = Rows()
    configs = schedulers or []
    simulated = SimulatedRun(monitor, loggers=[rows], optimizers=optimizers, lr_scheduler_configs=configs, **settings)

    def step() -> None:
        for optimizer in optimizers:
            optimizer.step()
        simulated.fit_loop.epoch_loop._batches_that_stepped += 1
        for config in configs:
            if config.interval == "step":
                config.scheduler.step()

    def end_of_epoch() -> None:
        for config in configs:
            if config.interval == "epoch":
                config.scheduler.step()

    simulated.train, simulated.end_of_epoch = step, end_of_epoch
    simulated.fit(epochs=2, batches=2)
    for key, value in simulated.callback_metrics.items():
        if key != "val":
            assert value == pytest.approx(rows.rows[-1][1][key])
    return rows.rows


def config(optimizer: Optimizer, interval: str = "epoch", name: str | None = None) -> LRSchedulerConfig:
    return LRSchedulerConfig(StepLR(optimizer, 1, gamma=0.5), interval=interval, name=name)


@pytest.mark.parametrize(
    ("interval", "steps", "logged"),
    [
        (None, "epoch", [(0, 1.0), (2, 0.5)]),
        (None, "step", [(0, 1.0), (1, 0.5), (2, 0.25), (3, 0.125)]),
        ("epoch", "epoch", [(0, 1.0), (2, 0.5)]),
        ("epoch", "step", [(0, 1.0), (2, 0.25)]),
        ("step", "epoch", [(0, 1.0), (1, 1.0), (2, 0.5), (3, 0.5)]),
        ("step", "step", [(0, 1.0), (1, 0.5), (2, 0.25), (3, 0.125)]),
    ],
)
def test_intervals(interval: Any, steps: str, logged: list[tuple[int, float]]) -> None:
    optimizer = SGD(weights(), lr=1.0)
    monitor = LearningRateMonitor(interval)
    assert run(monitor, [optimizer], [config(optimizer, steps)]) == [(x, {"lr-SGD": lr}) for x, lr in logged]
    assert monitor.lrs == {"lr-SGD": [lr for _, lr in logged]}


@pytest.mark.parametrize(("interval", "xs"), [(None, [0, 0, 1, 2, 2, 3]), ("epoch", [0, 2]), ("step", [0, 1, 2, 3])])
def test_without_scheduler(interval: Any, xs: list[int]) -> None:
    rows = run(LearningRateMonitor(interval), [Adam(weights(), lr=0.5)])
    assert rows == [(x, {"lr-Adam": 0.5}) for x in xs]


def test_steps_follow_the_logging_of_the_trainer() -> None:
    assert run(LearningRateMonitor("step"), [SGD(weights(), lr=0.5)], should_log=False) == []


def keys(*arguments: Any, **options: Any) -> list[str]:
    return list(run(LearningRateMonitor("epoch", **options), *arguments)[0][1])


def test_names() -> None:
    groups = [{"params": weights()}, {"params": weights(), "name": "head"}]
    one, two = Adam(weights()), Adam(weights())
    assert keys([one, two], [config(one), config(two)]) == ["lr-Adam", "lr-Adam-1"]
    assert keys([one, two], [config(two)]) == ["lr-Adam", "lr-Adam-1"]  # those with a scheduler come first
    assert keys([one], [config(one, name="mine")]) == ["mine"]
    assert keys([one, two], [config(one, name="mine"), config(two, name="mine")]) == ["mine", "mine-1"]
    assert keys([SGD(groups, lr=0.1)]) == ["lr-SGD/pg1", "lr-SGD/head"]


def test_momentum_and_weight_decay() -> None:
    both = {"log_momentum": True, "log_weight_decay": True}
    monitor = LearningRateMonitor("epoch", **both)  # type: ignore[arg-type]
    optimizers = [SGD(weights(), lr=0.1, momentum=0.9, weight_decay=0.01), Adam(weights()), Adagrad(weights())]
    _, values = run(monitor, optimizers)[0]
    assert values["lr-SGD-momentum"] == 0.9 and values["lr-SGD-weight_decay"] == 0.01
    assert values["lr-Adam-momentum"] == 0.9 and values["lr-Adagrad-momentum"] == 0
    assert monitor.last_momentum_values["lr-SGD-momentum"] == 0.9
    assert monitor.last_weight_decay_values["lr-SGD-weight_decay"] == 0.01


def test_a_group_that_comes_later_takes_the_history_along() -> None:
    optimizer = SGD(weights(), lr=0.5)
    monitor = LearningRateMonitor("epoch")

    class Grows(SimulatedRun):
        def fire(self, event: str, *args: Any) -> None:
            if event == "on_train_epoch_start" and self.current_epoch == 1:
                optimizer.add_param_group({"params": weights(), "lr": 0.75})
            super().fire(event, *args)

    rows = Rows()
    Grows(monitor, loggers=[rows], optimizers=[optimizer]).fit(epochs=2)
    assert [values for _, values in rows.rows] == [{"lr-SGD": 0.5}, {"lr-SGD/pg1": 0.5, "lr-SGD/pg2": 0.75}]
    assert monitor.lrs == {"lr-SGD/pg1": [0.5, 0.5], "lr-SGD/pg2": [0.75]}


def test_a_rate_that_is_a_tensor_keeps_its_history() -> None:
    optimizer = Adam(weights(), lr=torch.tensor(1.0))
    monitor = LearningRateMonitor("step")
    run(monitor, [optimizer], [config(optimizer, "step")])
    assert monitor.lrs["lr-Adam"] == [1.0, 0.5, 0.25, 0.125]


def test_batches_are_not_listened_to_for_epochs() -> None:
    assert not LearningRateMonitor("epoch").listens_to("on_train_batch_start")
    assert LearningRateMonitor().listens_to("on_train_batch_start")


def test_no_logger() -> None:
    with pytest.raises(MisconfigurationException, match=r"Trainer\(logger=True\)"):
        SimulatedRun(LearningRateMonitor()).fit()


def test_two_groups_of_one_name() -> None:
    groups = [{"params": weights(), "name": "a"}, {"params": weights(), "name": "a"}]
    with pytest.raises(MisconfigurationException, match='Change the `"name"`'):
        run(LearningRateMonitor(), [SGD(groups, lr=0.1)])


def test_bad_interval() -> None:
    with pytest.raises(MisconfigurationException, match='Pass "step", "epoch", or None'):
        LearningRateMonitor("batch")  # type: ignore[arg-type]
