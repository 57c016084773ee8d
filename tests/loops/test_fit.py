from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runs import Net, data, fit
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fulmen.utilities.exceptions import MisconfigurationException


class Stream(IterableDataset[Tensor]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(self.length, 2))


class Streams(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).mean()


class Stops(Net):
    """Asks to stop after some steps, and notes where it validates."""

    def __init__(self, after: int = 10**9) -> None:
        super().__init__()
        self.after = after
        self.validated: list[int] = []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step >= self.after:
            self.trainer.should_stop = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(self.global_step)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(0, 3), st.integers(-1, 9), st.integers(1, 3))
def test_the_first_limit_that_is_reached_ends_training(batches: int, epochs: int, steps: int, window: int) -> None:
    trainer = fit(Net(), data(batches), max_epochs=epochs, max_steps=steps, accumulate_grad_batches=window)
    windows = -(-batches // window)
    expected = epochs * windows if steps == -1 else min(steps, epochs * windows)
    assert trainer.global_step == expected
    assert trainer.current_epoch == -(-expected // windows)


@pytest.mark.parametrize(
    ("flags", "steps", "validated"),
    [
        ({}, 3, [3]),
        ({"min_steps": 2}, 4, [3, 4]),
        ({"min_steps": 6}, 6, [4, 6]),
        ({"min_epochs": 2}, 8, [4, 8]),
        ({"min_epochs": 1}, 4, [4]),
    ],
)
def test_a_request_to_stop_waits_for_the_minimum(flags: dict[str, Any], steps: int, validated: list[int]) -> None:
    module = Stops(after=3)
    trainer = fit(module, data(4), data(1), max_epochs=5, **flags)
    assert trainer.global_step == steps
    if flags != {"min_steps": 2}:
        assert module.validated == validated


def test_without_a_limit_there_is_one() -> None:
    with pytest.warns(UserWarning, match=r"1000 epochs.*max_epochs=-1"):
        trainer = fit(Stops(after=3), data(1), data(1), max_epochs=None)
    assert (trainer.max_epochs, trainer.global_step) == (1000, 3)


def test_time_is_a_limit() -> None:
    trainer = fit(Net(), data(1), max_epochs=None, max_time=timedelta(seconds=0.05))
    assert trainer.max_epochs == -1
    assert trainer.global_step > 0


@pytest.mark.parametrize("flags", [{"max_epochs": 0}, {"max_steps": 0}, {"limit_train_batches": 0}])
def test_no_training_at_all(flags: dict[str, Any]) -> None:
    class Refuses(Stops):
        def on_train_start(self) -> None:
            raise AssertionError

    trainer = fit(Refuses(), data(2), data(1), **flags)
    assert (trainer.global_step, trainer.current_epoch, str(trainer.state.status)) == (0, 0, "finished")


def test_fitting_again_goes_on() -> None:
    module = Net()
    trainer = fit(module, data(2), max_epochs=1)
    trainer.fit(module, data(2))
    assert trainer.global_step == 2
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, data(2))
    assert (trainer.global_step, trainer.current_epoch) == (6, 3)


def test_modes_are_the_users() -> None:
    """A frozen layer stays in evaluation mode, before and after validation."""
    modes: list[tuple[bool, bool]] = []

    class Frozen(Stops):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Dropout().eval()

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            modes.append((self.training, self.frozen.training))

    with pytest.warns(UserWarning, match="1 of the modules in `Frozen` are in evaluation mode"):
        fit(Frozen(), data(2), data(1), max_epochs=2)
    assert modes == [(True, False)] * 4


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_stream_ends_when_it_ends(sanity: int) -> None:
    last: list[bool] = []

    class Watches(Streams):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            last.append(self.trainer.is_last_batch)

    loader = DataLoader(Stream(6), batch_size=2)
    trainer = fit(Watches(), loader, max_epochs=2, num_sanity_val_steps=sanity)
    assert trainer.num_training_batches == float("inf")
    assert last == [False, False, True] * 2


def test_a_stream_that_gives_nothing() -> None:
    with pytest.warns(UserWarning, match="gave no batch, so the epoch was empty"):
        trainer = fit(Streams(), DataLoader(Stream(0), batch_size=2), max_epochs=3)
    assert (trainer.global_step, trainer.current_epoch) == (0, 3)


def test_the_sanity_check_tries_a_few_batches() -> None:
    tried: list[int] = []

    class Tries(Stops):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:  # type: ignore[override]
            if self.trainer.sanity_checking:
                tried.append(dataloader_idx)

    trainer = fit(Tries(), data(1), [data(3), data(1)], num_sanity_val_steps=2)
    assert tried == [0, 0, 1]
    assert trainer.num_sanity_val_batches == [2, 1]


def test_a_mistake_in_validation_comes_before_training() -> None:
    class TooFew(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise AssertionError

        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    with pytest.raises(MisconfigurationException, match="dataloader_idx=0"):
        fit(TooFew(), data(1), [data(1), data(1)], num_sanity_val_steps=0)


def test_views_under_the_names_that_others_use() -> None:
    trainer = fit(Net(), data(3), max_epochs=2)
    loop = trainer.fit_loop
    assert (loop.current_epoch, loop.global_step, loop.max_batches) == (2, 6, 3)
    assert loop.epoch_progress.current.completed == trainer.progress.epoch == 2
    assert loop.epoch_loop.global_step == 6
    assert loop.epoch_loop.total_batch_idx == 5
    assert loop.epoch_loop.val_loop is loop.validation
    assert loop.epoch_loop._batches_that_stepped == 6
