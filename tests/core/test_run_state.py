from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import Net, data, fit

from fulmen.loggers.csv_logs import CSVLogger
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
