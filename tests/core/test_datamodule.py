from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset

from fulmen.core.datamodule import LightningDataModule


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([torch.ones(1)])


class Sized(Stream):
    def __len__(self) -> int:
        return 4


def data(length: int) -> TensorDataset:
    return TensorDataset(torch.arange(length))


def test_from_datasets_makes_one_loader_for_each() -> None:
    sets = [data(3), data(4), data(5), data(6)]
    made = LightningDataModule.from_datasets(*sets, batch_size=2)
    loaders = [made.train_dataloader(), made.val_dataloader(), made.test_dataloader(), made.predict_dataloader()]
    assert [loader.dataset for loader in loaders] == sets
    assert [type(loader.sampler) for loader in loaders] == [RandomSampler] + [SequentialSampler] * 3
    assert {loader.batch_size for loader in loaders} == {2}


def test_from_datasets_keeps_lists_and_mappings() -> None:
    ready = DataLoader(data(9))
    made = LightningDataModule.from_datasets({"a": data(3), "b": [data(4), Stream()]}, (data(5), ready), num_workers=1)
    train, val = made.train_dataloader(), made.val_dataloader()
    assert len(train["a"].dataset) == 3
    assert isinstance(train["b"][0].sampler, RandomSampler)
    assert isinstance(train["b"][1].dataset, Stream)
    assert type(val) is tuple
    assert val[1] is ready
    assert train["a"].num_workers == 1
    assert list(LightningDataModule.from_datasets(Stream()).train_dataloader()) == [torch.ones(1, 1)]


def test_from_datasets_leaves_the_rest_undefined() -> None:
    made = LightningDataModule.from_datasets(data(3))
    assert made.val_dataloader() is made.test_dataloader() is made.predict_dataloader() is None
    made.trainer = None
    assert len(pickle.loads(pickle.dumps(made)).train_dataloader()) == 3


def test_from_datasets_hands_arguments_on() -> None:
    class Takes(LightningDataModule):
        def __init__(self, name_: str, batch_size: int = 7) -> None:
            super().__init__()
            self.save_hyperparameters()

    class TakesAll(LightningDataModule):
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            self.save_hyperparameters()

    assert Takes.from_datasets(data(3), name_="x", batch_size=2).hparams == {"name_": "x", "batch_size": 2}
    assert TakesAll.from_datasets(data(3), q=1).hparams == {"batch_size": 1, "num_workers": 0, "q": 1}
    with pytest.raises(TypeError, match="unexpected keyword"):
        Takes.from_datasets(data(3), name_="x", other=1)


def test_prints_the_sizes_of_its_datasets() -> None:
    assert str(LightningDataModule()).splitlines() == [
        f"{{{title} dataloader: None}}" for title in ("Train", "Validation", "Test", "Predict")
    ]
    made = LightningDataModule.from_datasets([data(3), Stream()], {"a": data(4), "b": Sized()}, data(7), batch_size=2)
    assert str(made).splitlines() == [
        "{Train dataloader: 1. size=3 ; 2. size=NA}",
        "{Validation dataloader: a. size=4 ; b. size=4}",
        "{Test dataloader: size=7}",
        "{Predict dataloader: None}",
    ]


def test_prints_before_its_data_is_there() -> None:
    class Later(LightningDataModule):
        def setup(self, stage: str) -> None:
            self.data = data(2)

        def train_dataloader(self) -> Any:
            return DataLoader(self.data)

    later = Later()
    assert str(later).startswith("{Train dataloader: None}")
    later.setup("fit")
    assert str(later).startswith("{Train dataloader: size=2}")


def test_works_without_the_base_class_init() -> None:
    class Forgetful(LightningDataModule):
        def __init__(self, a: int) -> None:
            self.save_hyperparameters()

    module = Forgetful(1)
    assert (module.trainer, module.name, module.hparams) == (None, None, {"a": 1})
    assert module.state_dict() == {}
    assert module.prepare_data_per_node
    assert not module.allow_zero_length_dataloader_with_multiple_devices


def test_moves_a_batch() -> None:
    batch = LightningDataModule().transfer_batch_to_device({"x": [torch.ones(1)]}, torch.device("meta"), 0)
    assert batch["x"][0].device.type == "meta"
