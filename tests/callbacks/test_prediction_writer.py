from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import BasePredictionWriter
from fulmen.callbacks.prediction_writer import WriteInterval
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.exceptions import MisconfigurationException

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip


class Echo(LightningModule):
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return batch[0] if isinstance(batch, list) else batch


class Writer(BasePredictionWriter):
    def __init__(self, interval: Any = "batch_and_epoch") -> None:
        super().__init__(interval)
        self.batches: list[tuple[list[int], Any, int, int]] = []
        self.epochs: list[tuple[Any, Any]] = []

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, batch_idx: int,
        dataloader_idx: int,
    ) -> None:  # fmt: skip
        self.batches.append((prediction.flatten().tolist(), batch_indices, batch_idx, dataloader_idx))

    def write_on_epoch_end(self, trainer: Any, pl_module: Any, predictions: Any, batch_indices: Any) -> None:
        self.epochs.append((predictions, batch_indices))


class Squares(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([float(index)])


class Numbers(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(5.0))


class Restless(BatchSampler):
    """Gives one list again and again, changed."""

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for indices in super().__iter__():
            batch[:] = indices
            yield batch


def own(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Each sample is its own index.
NUMBERS = torch.arange(11.0).view(11, 1)
LOADERS: dict[str, Any] = {
    "memory": lambda: DataLoader(TensorDataset(NUMBERS), 4, shuffle=True, generator=own()),
    "memory in order": lambda: DataLoader(TensorDataset(NUMBERS), 4),
    "tensor": lambda: DataLoader(NUMBERS, 4, shuffle=True),
    "samples": lambda: DataLoader(Squares(), 4, shuffle=True, generator=own()),
    "drops": lambda: DataLoader(Squares(), 4, shuffle=True, drop_last=True),
    "twice": lambda: DataLoader(Squares(), 4, sampler=RandomSampler(range(11), replacement=True, num_samples=22)),
    "restless": lambda: DataLoader(Squares(), batch_sampler=Restless(RandomSampler(range(11)), 4, False)),
    "workers": lambda: DataLoader(Squares(), 3, shuffle=True, num_workers=2, generator=own()),
    "any order": lambda: DataLoader(Squares(), 3, shuffle=True, num_workers=2, in_order=False),
}


@pytest.mark.parametrize("fast", ["1", "0"])
@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.filterwarnings("ignore:.*worker processes.*")
def test_indices_are_those_of_the_samples(kind: str, fast: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULMEN_FAST_DATA", fast)
    torch.manual_seed(4)
    writer = Writer()
    found = Trainer(callbacks=[writer], **QUIET).predict(Echo(), LOADERS[kind]())
    assert found
    assert [indices for _, indices, _, _ in writer.batches] == [values for values, _, _, _ in writer.batches]
    ((predictions, indices),) = writer.epochs
    assert [one.flatten().tolist() for one in predictions] == indices[0]
    assert sum(len(values) for values, _, _, _ in writer.batches) == (22 if kind == "twice" else 11)


@pytest.mark.parametrize("kind", ["memory", "samples", "drops", "twice"])
def test_a_writer_changes_no_order(kind: str) -> None:
    orders = []
    for callbacks in ([], [Writer()]):
        torch.manual_seed(4)
        found = Trainer(callbacks=callbacks, **QUIET).predict(Echo(), LOADERS[kind]())
        assert found
        orders.append([*(one.flatten().tolist() for one in found), torch.rand(2).tolist()])
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Numbers(), 2),
        DataLoader(Squares(), None),
        CombinedLoader([DataLoader(Squares(), 4), DataLoader(Squares(), 4)], "min_size"),
    ],
    ids=["iterable", "no batches", "combined"],
)
def test_where_indices_are_not_known_there_are_none(loader: Any) -> None:
    writer = Writer()
    Trainer(callbacks=[writer], **QUIET).predict(Echo(), loader)
    assert {tuple(indices) for _, indices, _, _ in writer.batches} == {()}
    assert writer.epochs[0][1] == [[]]


def test_predictions_are_kept_for_those_who_want_them() -> None:
    for interval, kept in (("batch", 0), ("epoch", 3)):
        writer = Writer(interval)
        trainer = Trainer(callbacks=[writer], **QUIET)
        alive: list[int] = []
        trainer.callbacks.append(Alive(alive))
        assert trainer.predict(Echo(), LOADERS["samples"](), return_predictions=False) is None
        assert alive == [kept]
        assert (len(writer.batches), len(writer.epochs)) == ((3, 0) if interval == "batch" else (0, 1))
        assert trainer.predict_loop.predictions == []


class Alive(BasePredictionWriter):
    """Counts the predictions that are kept at the end, and wants none."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__("batch")
        self.counts = counts

    def write_on_batch_end(self, *_: Any) -> None: ...

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.counts.append(len(trainer.predict_loop.predictions))


def test_intervals() -> None:
    assert [(one.value, one.on_batch, one.on_epoch) for one in WriteInterval] == [
        ("batch", True, False),
        ("epoch", False, True),
        ("batch_and_epoch", True, True),
    ]
    with pytest.raises(MisconfigurationException, match="One of 'batch', 'epoch', 'batch_and_epoch'"):
        Writer("sometimes")


@pytest.mark.parametrize(("interval", "method"), [("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")])
def test_a_writer_without_its_method(interval: Any, method: str) -> None:
    trainer = Trainer(callbacks=[BasePredictionWriter(interval)], **QUIET)
    with pytest.raises(NotImplementedError, match=f"Write `def {method}"):
        trainer.predict(Echo(), LOADERS["samples"]())
