from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data, fit

from fulmen.core.datamodule import LightningDataModule
from fulmen.loggers.logger import Logger
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfiguredRun


class Keeps(Logger):
    """Keeps the hyper-parameters it gets."""

    name, version = "keeps", 0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []
        self.saved = 0

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.got.append(dict(params))

    def log_metrics(self, metrics: Any, step: Any = None) -> None: ...

    def save(self) -> None:
        self.saved += 1


class Tuned(Net):
    def __init__(self, lr: float = 0.1, logged: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters("lr", logger=logged)


class Sized(LightningDataModule):
    def __init__(self, size: int = 2, lr: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters(*(["size"] if lr is None else ["size", "lr"]))

    def train_dataloader(self) -> Any:
        return data(1, self.hparams.size)


def run(module: Net, datamodule: Any = None, **flags: Any) -> list[Keeps]:
    loggers = [Keeps(), Keeps()]
    trainer = Trainer(**{**QUIET, "logger": loggers, **flags})
    trainer.fit(module, *([] if datamodule is not None else [data(1)]), datamodule=datamodule)
    return loggers


@pytest.mark.parametrize(
    ("module", "datamodule", "expected"),
    [
        (Tuned(0.5), None, [{"lr": 0.5}]),
        (Tuned(0.5), Sized(), [{"lr": 0.5, "size": 2}]),
        (Tuned(0.5), Sized(lr=0.5), [{"lr": 0.5, "size": 2}]),
        (Tuned(logged=False), Sized(), [{"size": 2}]),
        (Tuned(logged=False), None, []),
        (Net(), None, []),
    ],
)
def test_each_logger_gets_them_once(module: Net, datamodule: Any, expected: list[Any]) -> None:
    for logger in run(module, datamodule):
        assert logger.got == expected
        assert logger.saved >= 1


def test_it_can_be_switched_off() -> None:
    assert [logger.got for logger in run(Tuned(), enable_autolog_hparams=False)] == [[], []]


def test_one_name_has_one_value() -> None:
    with pytest.raises(MisconfiguredRun, match=r"lr: 0\.5 and 0\.1\n.*save_hyperparameters\(ignore="):
        run(Tuned(0.5), Sized(lr=0.1))


def test_tensors_are_compared_too() -> None:
    one, two = torch.ones(2), torch.ones(2)
    assert len(run(Tuned(one), Sized(lr=two))[0].got) == 1  # type: ignore[arg-type]


def test_without_loggers_nothing_is_compared() -> None:
    assert fit(Tuned()).loggers == []
    trainer = Trainer(**QUIET)
    trainer.fit(Tuned(0.5), datamodule=Sized(lr=0.1))
    assert trainer.global_step == 1
