from __future__ import annotations

from typing import Any

import pytest
from tests.runs import Net, data, fit

from fulmen.core.datamodule import LightningDataModule
from fulmen.loops.source import LoaderSource

GIVEN, OF_MODULE, OF_DATA = data(), data(), data()


class Module(Net):
    def train_dataloader(self) -> Any:
        return OF_MODULE


class Data(LightningDataModule):
    def train_dataloader(self) -> Any:
        return OF_DATA


@pytest.mark.parametrize(
    ("given", "module", "datamodule", "found", "name"),
    [
        (GIVEN, Module(), Data(), GIVEN, "train_dataloaders"),
        (None, Module(), Data(), OF_DATA, "Data.train_dataloader()"),
        (None, Module(), LightningDataModule(), OF_MODULE, "Module.train_dataloader()"),
        (None, Module(), None, OF_MODULE, "Module.train_dataloader()"),
        (None, Net(), None, None, "train_dataloaders"),
    ],
)
def test_what_was_given_comes_first_then_the_data_module(
    given: Any, module: Any, datamodule: Any, found: Any, name: str
) -> None:
    source = LoaderSource("train_dataloader")
    source.attach(given, module, datamodule)
    trainer = fit(Net())
    assert source.defined == (found is not None)
    assert source.request(trainer) is found
    assert source.name == name


def test_attaching_again_forgets() -> None:
    source = LoaderSource("train_dataloader")
    source.attach(GIVEN, Net(), None)
    source.attach(None, Net(), None)
    assert not source.defined


def test_a_hook_makes_them_anew() -> None:
    class Makes(Net):
        def train_dataloader(self) -> Any:
            return data()

    source = LoaderSource("train_dataloader")
    source.attach(None, Makes(), None)
    trainer = fit(Net())
    assert source.request(trainer) is not source.request(trainer)
