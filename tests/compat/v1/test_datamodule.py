"""``LightningDataModule`` as 1.5 had it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.compat.v1.test_outputs import QUIET, Model
from torch.utils.data import DataLoader

from fulmen import LightningDataModule, Trainer
from fulmen.compat import v1

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


def make() -> Any:
    class Data(LightningDataModule):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.calls: list[Any] = []

        def prepare_data(self) -> None:
            self.calls.append("prepare_data")

        def setup(self, stage: Any = None) -> None:
            self.calls.append(stage)
            self.data = torch.zeros(2, 2)

        def train_dataloader(self) -> Any:
            return DataLoader(self.data)

        def val_dataloader(self) -> Any:
            return DataLoader(self.data)

    return Data


def test_transforms_and_dims_are_kept() -> None:
    v1.speak()
    data = make()(train_transforms=abs, dims=(1, 28, 28))
    assert data.train_transforms is abs
    assert data.val_transforms is data.test_transforms is None
    assert data.size() == (1, 28, 28)
    assert data.size(-1) == 28
    data.dims = (3, 4)
    data.val_transforms = len
    assert data.size(0) == 3 and data.val_transforms is len


def test_it_says_what_was_called() -> None:
    v1.speak()
    kind = make()
    data, other = kind(), kind()
    assert not data.has_prepared_data and not data.has_setup_fit
    data.prepare_data()
    data.setup("fit")
    assert data.has_prepared_data and data.has_setup_fit
    assert not data.has_setup_test and not other.has_setup_fit
    other.setup()
    assert other.has_setup_fit and other.has_setup_test and other.has_setup_predict
    assert copy.deepcopy(data).has_setup_fit


def test_a_run_calls_it_and_takes_what_was_set_up_by_hand() -> None:
    v1.speak()
    data = make()()
    data.prepare_data()
    data.setup("fit")
    assert len(data.train_dataloader()) == 2
    trainer = Trainer(**QUIET)
    trainer.fit(Model(), data)
    assert data.calls == ["prepare_data", "fit", "prepare_data", "fit"]
    assert data.has_teardown_fit is False  # it has none


def test_in_plain_fulmen_the_names_are_there_on_demand() -> None:
    data = make()()
    assert data.dims is None and data.size() is None
    assert data.has_setup_fit is False
    assert make()(dims=(2, 2)).size(1) == 2


def test_datasets_make_one_with_predictions_too() -> None:
    v1.speak()
    zeros = torch.utils.data.TensorDataset(torch.zeros(4, 2))
    data = LightningDataModule.from_datasets(zeros, predict_dataset=zeros, batch_size=2)
    assert len(data.train_dataloader()) == len(data.predict_dataloader()) == 2
    assert data.val_dataloader() is None
