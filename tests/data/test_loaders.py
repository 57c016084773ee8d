from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from fulmen.data.loaders import check_loader, length_of, planned_batches, prepare
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.seed import pl_worker_init_function

DATA = TensorDataset(torch.arange(6))


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class SizedStream(Stream):
    def __len__(self) -> int:
        return 4


class Raises(list[int]):
    def __init__(self, error: Exception) -> None:
        super().__init__([1, 2])
        self.error = error

    def __len__(self) -> int:
        raise self.error


@pytest.mark.parametrize("name", ["train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"])
def test_no_loader(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"trainer\.\w+\(model, .*=loader\)(.|\n)*def {name}\(self\):"):
        check_loader(None, name)


@pytest.mark.parametrize("obj", [5, [DataLoader(DATA), 5], {"a": [[1], lambda: 3]}, DataLoader])
def test_no_iterable(obj: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"must be iterable(.|\n)*DataLoader\(dataset, batch_size=32\)"):
        check_loader(obj, "train_dataloader")


@pytest.mark.parametrize("obj", [[], [[1], [2]], DataLoader(DATA), {"a": iter([1])}, Stream(), CombinedLoader([[1]])])
def test_loaders(obj: Any) -> None:
    before = torch.get_rng_state()
    check_loader(obj, "train_dataloader")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_data_set_for_a_loader() -> None:
    with pytest.warns(UserWarning, match=r"got the data set TensorDataset itself(.|\n)*DataLoader\(dataset"):
        check_loader(DATA, "train_dataloader")


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (DataLoader(DATA, 4), 2),
        (DataLoader(Stream()), math.inf),
        (DataLoader(SizedStream(), batch_size=3), 2),
        (iter([1]), math.inf),
        ([], 0),
        (Raises(NotImplementedError()), math.inf),
        (Raises(TypeError()), math.inf),
        (CombinedLoader([[1], DataLoader(Stream())]), 1),
        (CombinedLoader([[1], DataLoader(Stream())], "max_size"), math.inf),
    ],
)
def test_length(loader: Any, expected: float) -> None:
    assert length_of(loader) == expected


def test_a_length_that_fails_for_another_reason() -> None:
    with pytest.raises(ValueError, match="broken"):
        length_of(Raises(ValueError("broken")))


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [
        (7, 1.0, 7),
        (7, 0.5, 3),
        (7, 3, 3),
        (7, 100, 7),
        (7, 1, 1),
        (7, 0, 0),
        (7, 0.0, 0),
        (100, 0.29, 28),  # Lightning's rounding: 28.999...
        (0, 0.5, 0),
        (0, 3, 0),
        (math.inf, 1.0, math.inf),
        (math.inf, 3, 3),
        (math.inf, 1, 1),
        (math.inf, 0, 0),
        (math.inf, 0.0, 0),
    ],
)
def test_planned(length: float, limit: float, expected: float) -> None:
    planned = planned_batches(length, limit, "limit_train_batches")
    assert planned == expected
    assert isinstance(planned, int) or planned == math.inf


def test_a_fraction_of_an_unknown_length() -> None:
    with pytest.raises(MisconfigurationException, match=r"limit_val_batches=100(.|\n)*limit_val_batches=1\.0"):
        planned_batches(math.inf, 0.5, "limit_val_batches")


def test_a_fraction_that_leaves_nothing() -> None:
    with pytest.raises(MisconfigurationException, match=r"limit_test_batches=1(.|\n)*at least 0\.1429"):
        planned_batches(7, 0.05, "limit_test_batches")
    assert planned_batches(7, 0.1429, "limit_test_batches") == 1


def order(loader: Any) -> list[Any]:
    return [batch[0].tolist() for batch in loader]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, 4, shuffle=True),
        DataLoader(DATA, 4, sampler=WeightedRandomSampler([1.0] * 6, 6)),
        DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 4, False)),
    ],
)
@pytest.mark.parametrize("stage", ["train", "val"])
def test_overfitting_reads_in_order(loader: DataLoader[Any], stage: str) -> None:
    with pytest.warns(UserWarning, match=f"overfit_batches.*the {stage} dataloader is read in order"):
        ready = prepare(loader, stage=stage, overfit=True)
    assert order(ready) == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, 4),
        DataLoader(Stream()),
        [1, 2],
        DataLoader(DATA, batch_sampler=[[1], [0]]),
        {"a": DataLoader(DATA), "b": [range(2)]},
        CombinedLoader([DataLoader(DATA)]),
    ],
)
@pytest.mark.parametrize("overfit", [False, True])
def test_other_loaders_stay(loader: Any, overfit: bool) -> None:
    assert prepare(loader, stage="train", overfit=overfit) is loader


def test_order_of_samples_is_left_alone() -> None:
    loader = DataLoader(DATA, 4, shuffle=True)
    before = torch.get_rng_state()
    assert prepare(loader, stage="train") is loader
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(loader.sampler, RandomSampler)


def test_nests_are_made_again_around_a_new_loader() -> None:
    plain, shuffled = DataLoader(DATA, 4), DataLoader(DATA, 4, shuffle=True)
    nest = {"a": plain, "b": [shuffled, range(2)]}
    combined = CombinedLoader(nest, "max_size")
    with pytest.warns(UserWarning, match="overfit_batches"):
        ready = prepare(nest, stage="train", overfit=True)
    assert ready["a"] is plain and isinstance(ready["b"][0].sampler, SequentialSampler) and ready["b"][1] == range(2)
    with pytest.warns(UserWarning, match="overfit_batches"):
        ready = prepare(combined, stage="train", overfit=True)
    assert ready.mode == "max_size" and isinstance(ready.flattened[1].sampler, SequentialSampler)
    assert combined.flattened[1] is shuffled and combined.iterables is nest


@pytest.mark.parametrize("stage", ["val", "test"])
def test_shuffled_evaluation(stage: str) -> None:
    with pytest.warns(UserWarning, match=rf"`{stage}_dataloader` shuffles(.|\n)*shuffle=False"):
        prepare([DataLoader(DATA, shuffle=True)], stage=stage)


def test_a_stream_that_each_worker_reads_whole() -> None:
    with pytest.warns(UserWarning, match="get_worker_info"):
        prepare(DataLoader(SizedStream(), num_workers=2), stage="train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(DataLoader(SizedStream()), stage="train")


def test_seeded_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(worker: int) -> None:
        pass

    plain, own = DataLoader(DATA), DataLoader(DATA, worker_init_fn=mine)
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    prepare([plain, own], stage="train", rank=3)
    assert plain.worker_init_fn is None
    monkeypatch.setenv("PL_SEED_WORKERS", "1")
    prepare([plain, own], stage="train", rank=3)
    assert own.worker_init_fn is mine
    assert isinstance(plain.worker_init_fn, functools.partial)
    assert plain.worker_init_fn.func is pl_worker_init_function and plain.worker_init_fn.keywords == {"rank": 3}
