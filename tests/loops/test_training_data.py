from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runs import QUIET, Net, data, fit
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from fulmen.loops.training_data import TrainingData
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(6, 2))


def loaded(loader: Any, **flags: Any) -> TrainingData:
    source = TrainingData(Trainer(**{**QUIET, **flags}))
    source.attach(loader, Net(), None)
    assert source.load()
    assert not source.load()
    return source


@given(st.integers(1, 9), st.integers(1, 12), st.floats(0.01, 1.0), st.sampled_from([1, None]))
def test_how_many_batches_there_are_between_validations(n: int, k: int, part: float, every: int | None) -> None:
    source = loaded(data(n))
    source.trainer.check_val_every_n_epoch = every
    source.trainer.val_check_interval = part
    assert source.validation_plan(enabled=True).interval == max(1, int(n * part))
    source.trainer.val_check_interval = k
    if k > n and every is not None:
        with pytest.raises(ValueError, match="check_val_every_n_epoch=None"):
            source.validation_plan(enabled=True)
    else:
        assert source.validation_plan(enabled=True).interval == k


def test_streams_and_times() -> None:
    source = loaded(DataLoader(Stream(), batch_size=2))
    assert source.max_batches == math.inf
    assert source.validation_plan(enabled=True).interval == math.inf
    source.trainer.val_check_interval = 4
    assert source.validation_plan(enabled=True).interval == 4
    source.trainer.val_check_interval = 0.5
    with pytest.raises(MisconfigurationException, match="val_check_interval=100"):
        source.validation_plan(enabled=True)
    source.trainer.val_check_interval = timedelta(minutes=1)
    assert source.validation_plan(enabled=True).seconds == 60


@pytest.mark.parametrize(("limit", "batches"), [(2, 2), (9, 4), (0.5, 2), (1.0, 4)])
def test_limits(limit: float, batches: int) -> None:
    assert loaded(data(4), limit_train_batches=limit).max_batches == batches


def test_a_limit_is_named_as_it_was_given() -> None:
    with pytest.raises(MisconfigurationException, match=r"overfit_batches=0\.1 of 4 batches"):
        loaded(data(4), overfit_batches=0.1)
    with pytest.raises(MisconfigurationException, match=r"limit_train_batches=0\.1 of 4 batches"):
        loaded(data(4), limit_train_batches=0.1)


def test_a_nest_is_read_together() -> None:
    source = loaded({"a": data(2), "b": data(3)})
    assert isinstance(source.loader, CombinedLoader)
    assert source.max_batches == 3
    assert set(source.original) == {"a", "b"}
    with pytest.raises(MisconfigurationException, match="max_size_cycle"):
        loaded(CombinedLoader([data(1), data(1)], "sequential"))


@pytest.mark.parametrize(("flags", "warned"), [({}, True), ({"max_epochs": 1}, False)])
def test_an_iterator_is_read_once(flags: dict[str, Any], warned: bool) -> None:

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded(iter([torch.ones(2, 2)]), **{"max_epochs": 2, **flags})
    assert any("reload_dataloaders_every_n_epochs=1" in str(warning.message) for warning in caught) == warned


@pytest.mark.parametrize(("every", "asked"), [(0, [0]), (1, [0, 1, 2, 3]), (3, [0, 3])])
def test_loaders_are_made_anew(every: int, asked: list[int]) -> None:
    epochs: list[int] = []

    class Makes(Net):
        def train_dataloader(self) -> Any:
            epochs.append(self.current_epoch)
            return data(1 + self.current_epoch)

    trainer = Trainer(**{**QUIET, "max_epochs": 4}, reload_dataloaders_every_n_epochs=every)
    trainer.fit(Makes())
    assert epochs == asked
    assert trainer.global_step == {0: 4, 1: 10, 3: 7}[every]


def test_a_generator_made_anew_each_epoch() -> None:
    class Yields(Net):
        def train_dataloader(self) -> Any:
            yield [torch.ones(2, 2)]

    trainer = Trainer(**{**QUIET, "max_epochs": 3}, reload_dataloaders_every_n_epochs=1)
    trainer.fit(Yields())
    assert trainer.global_step == 3


def test_attaching_again_forgets() -> None:
    source = loaded(data(2))
    source.attach(None, Net(), None)
    assert (source.original, source.loader, source.max_batches) == (None, None, math.inf)


def test_the_trainer_shows_what_was_given() -> None:
    loader = [data(2), data(1)]
    trainer = fit(type("Many", (Net,), {"training_step": lambda self, batch, i: self(batch[0][0]).mean()})(), loader)
    assert trainer.train_dataloader is loader
    assert trainer.num_training_batches == 2
