from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit
from torch import Tensor, nn
from torchmetrics import MeanMetric

from fulmen.core.module import LightningModule
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.trainer.trainer import Trainer
from fulmen.tuner.tuning import Tuner
from fulmen.utilities.exceptions import MisconfigurationException

VIEWS: dict[str, Any] = {
    "current_epoch": 0, "global_step": 0, "global_rank": 0, "local_rank": 0, "on_gpu": False, "device_mesh": None,
    "logger": None, "loggers": [], "fabric": None,
}  # fmt: skip


def test_views_without_a_trainer() -> None:
    net = Net()
    assert {name: getattr(net, name) for name in VIEWS} == VIEWS


def test_there_is_no_trainer_yet() -> None:
    with pytest.raises(RuntimeError, match=r"`Net` is not attached to a Trainer.*\n.*in hooks and steps") as caught:
        Net().trainer  # noqa: B018 - asking is the test
    assert isinstance(caught.value, MisconfigurationException)
    assert not hasattr(Net, "missing")


def test_views_are_those_of_the_run() -> None:
    seen: list[tuple[int, int, Any]] = []

    class Watches(Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append((self.current_epoch, self.global_step, self.logger))
            assert self.loggers == self.trainer.loggers

    logger = CSVLogger("logs")
    trainer = fit(Watches(), data(2), max_epochs=2, logger=logger)
    assert seen == [(0, 1, logger), (0, 2, logger), (1, 3, logger), (1, 4, logger)]
    module = trainer.lightning_module
    assert (module.current_epoch, module.global_step, module.trainer) == (2, 4, trainer)


def test_the_trainer_and_a_fabric_can_be_set() -> None:
    net, trainer, fabric = Net(), fit(Net()), object()
    net.trainer = trainer
    net.fabric = fabric
    assert (net.trainer, net.fabric) == (trainer, fabric)
    net.trainer = None
    assert net.global_step == 0


def test_a_module_whose_trainer_was_taken_away_runs_again() -> None:
    net = Net()
    fit(net)
    del net.__dict__["_trainer"]  # as neuralforecast does
    assert net.current_epoch == 0
    assert fit(net).lightning_module is net


@pytest.mark.parametrize("name", ["global_step", "current_epoch", "logger"])
def test_what_the_run_counts_is_not_for_setting(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Net(), name, 3)


def test_on_gpu_says_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    net._device = torch.device("cuda", 0)
    assert net.on_gpu


class Inner(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.metric = MeanMetric()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        if self._trainer is not None and self.trainer.training:
            self.metric.update(out.detach())
            self.log("inner", self.metric, on_step=False, on_epoch=True)
            self.log("inner_sum", out.sum().detach(), on_epoch=True)
        return out


class Outer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.chain = Inner(), nn.Sequential(nn.ReLU(), Inner())
        self.inner.deeper = LightningModule()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert all(part.trainer is self.trainer for part in (self.inner, self.inner.deeper, self.chain[1]))
        assert (self.inner.global_step, self.inner.loggers) == (self.global_step, self.loggers)
        loss: Tensor = super().training_step(batch, batch_idx) + self.inner(torch.ones(4, 2)).mean()
        return loss


def test_modules_inside_of_a_module_take_part_in_its_run() -> None:
    """They know the Trainer, and what they log is logged."""
    outer = Outer()
    trainer = fit(outer, data(2), max_epochs=1)
    assert outer.inner.trainer is trainer
    assert {"inner", "inner_sum", "inner_sum_epoch"} <= set(trainer.callback_metrics)
    again = fit(outer, data(2), max_epochs=1)
    assert outer.chain[1].trainer is again
    for part in (copy.deepcopy(outer.inner), pickle.loads(pickle.dumps(outer)).inner):
        assert part._trainer is None and part._logbook is None
    outer.trainer = None
    assert outer.inner.deeper._trainer is None


def test_what_modules_inside_log_in_a_trial_goes_nowhere() -> None:
    outer = Outer()
    trainer = Trainer(**QUIET)
    Tuner(trainer).lr_find(outer, data(30), num_training=5, update_attr=False)
    assert not trainer.callback_metrics
    assert outer.inner._logbook is outer._logbook
