from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from fulmen.callbacks.callback import Callback
from fulmen.core.datamodule import LightningDataModule
from fulmen.core.module import LightningModule
from fulmen.data.feed import Feed
from fulmen.loops.transfer import Transfer
from fulmen.loops.watch import WatchedFeed, watch, watch_feed, watch_hook, watch_strategy, watch_transfer

Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]


class Strategy:
    pass


def trainer_with(wrap: Wrap | None) -> Any:
    return SimpleNamespace(profile_wrapper=lambda: wrap, strategy=Strategy())


def noting(actions: list[str]) -> Wrap:
    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            actions.append(name)
            return function(*args, **kwargs)

        return wrapped

    return wrap


def test_nothing_changes_without_a_profiler() -> None:
    trainer = trainer_with(None)
    feed, plan, module = Feed([1, 2]), Transfer(None, list), LightningModule()
    assert watch(trainer, "a", len) is watch_strategy(trainer, "a", len) is len
    assert watch_feed(trainer, "a", feed) is feed
    assert watch_transfer(trainer, plan) == plan
    assert watch_hook(trainer, module, "setup") == module.setup


def test_actions_are_named_after_their_owners() -> None:
    actions: list[str] = []
    trainer = trainer_with(noting(actions))

    class Model(LightningModule):
        def setup(self, stage: str) -> None: ...

    class Data(LightningDataModule):
        def setup(self, stage: str) -> None: ...

    class Duck:
        def setup(self, stage: str) -> None: ...

    class Shouting(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None: ...

    for owner in (Model(), Data(), Duck()):
        watch_hook(trainer, owner, "setup")("fit")
    watch_hook(trainer, Shouting(), "setup")(None, None, stage="fit")
    assert watch_strategy(trainer, "step", len)([1]) == 1
    plan = watch_transfer(trainer, Transfer(torch.device("cpu"), list))
    assert plan.device == torch.device("cpu") and plan.apply is not None and plan.apply((1,)) == [1]
    assert actions == [
        "[LightningModule]Model.setup",
        "[LightningDataModule]Data.setup",
        "[LightningDataModule]Duck.setup",
        "[Callback]Shouting.setup",
        "[Strategy]Strategy.step",
        "[Strategy]Strategy.batch_to_device",
    ]


@pytest.mark.parametrize("owner", [LightningModule(), Callback(), LightningDataModule()])
def test_a_hook_that_is_not_overridden_is_no_action(owner: Any) -> None:
    actions: list[str] = []
    assert watch_hook(trainer_with(noting(actions)), owner, "setup") == owner.setup


class Endless(IterableDataset[int]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.length))


@given(length=st.integers(0, 5), limit=st.none() | st.integers(0, 6), sized=st.booleans())
def test_each_batch_is_fetched_under_watch(length: int, limit: int | None, sized: bool) -> None:
    """As many actions as batches, the same batches, and the same word about which is the last.

    A fetch that finds nothing, because nobody knew that the data would end, is an action too.
    """

    def feed() -> Feed:
        data: Any = list(range(length)) if sized else Endless(length)
        return Feed(DataLoader(data, batch_size=None), float("inf") if limit is None else limit)

    actions: list[str] = []
    plain, watched = feed(), watch_feed(trainer_with(noting(actions)), "next", feed())
    assert isinstance(watched, WatchedFeed)
    expected = [(batch, index + 1 == plain.total) for index, batch in enumerate(plain)]
    assert [(batch, index + 1 == watched.total) for index, batch in enumerate(watched)] == expected
    in_vain = not sized and (length == 0 if limit is None else limit > length)
    assert len(actions) == len(expected) + in_vain
    watched.close()
