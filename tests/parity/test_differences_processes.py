"""Rows of ``docs/differences.md`` on several processes: what an evaluation and a prediction give."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from .differing import both, loader, model, trainer

pytestmark = pytest.mark.soak  # Lightning takes seconds to start a group of processes

NUMBERS = [1.0, 2.0, 3.0]
ERROR = 1e-6


class Parts(IterableDataset[Any]):
    """Iterable data that give each process a batch of its own: two zeros to the first, a three to the second."""

    def __iter__(self) -> Iterator[Any]:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        return iter([torch.tensor([0.0, 0.0] if rank == 0 else [3.0])])


def test_step(self: Any, batch: Any, batch_idx: int) -> None:
    numbers = batch[0] if isinstance(batch, list) else batch
    self.log("mean", numbers.mean(), on_epoch=True, sync_dist=True, batch_size=len(numbers))
    self.log("sum", numbers.sum(), on_epoch=True, sync_dist=True, reduce_fx="sum", batch_size=len(numbers))


test_step.__test__ = False  # type: ignore[attr-defined]


def _tested(pl: Any, data: Any, batch_size: int | None = 1) -> dict[str, float]:
    (found,) = trainer(pl, accelerator="cpu", devices=2, strategy="ddp_fork").test(
        model(pl, test_step=test_step), loader(data, batch_size=batch_size), verbose=False
    )
    return dict(found)


def test_samples_are_not_counted_twice(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 87. Three samples on two processes, by hand."""
    theirs, ours = both(lightning, fulmen, lambda pl: _tested(pl, TensorDataset(torch.tensor(NUMBERS))))
    mean, total = sum(NUMBERS) / len(NUMBERS), sum(NUMBERS)
    assert ours == {"mean": pytest.approx(mean, abs=ERROR), "sum": pytest.approx(total, abs=ERROR)}
    assert abs(theirs["mean"] - mean) > 0.1
    assert abs(theirs["sum"] - total) > 0.5


def test_a_mean_counts_every_sample_alike(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 88. Two samples on one process and one on the other, by hand: (0 + 0 + 3) / 3."""
    theirs, ours = both(lightning, fulmen, lambda pl: _tested(pl, Parts(), None))
    assert ours["mean"] == pytest.approx(3 / 3, abs=ERROR)
    assert theirs["mean"] == pytest.approx(3 / 2, abs=ERROR)  # the mean of two means
    assert ours["sum"] == theirs["sum"] == 3


def _predict(pl: Any, **options: Any) -> Any:
    def predict_step(self: Any, batch: Any, batch_idx: int) -> Any:
        return batch[0] * 2

    runner = trainer(pl, accelerator="cpu", devices=2, strategy="ddp_fork")
    data = loader(TensorDataset(torch.tensor(NUMBERS)), batch_size=1)
    try:
        found = runner.predict(model(pl, predict_step=predict_step), data, **options)
    except Exception as error:
        return type(error).__name__
    return None if found is None else [one.tolist() for one in found]


def test_predictions_are_those_of_all_processes(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 89. In the order of the data, as they were put in."""
    theirs, ours = both(lightning, fulmen, lambda pl: _predict(pl))
    assert ours == [[2 * number] for number in NUMBERS]
    assert theirs is None
    asked, ours = both(lightning, fulmen, lambda pl: _predict(pl, return_predictions=True))
    assert ours == [[2 * number] for number in NUMBERS]
    assert asked == "ProcessRaisedException"


def _limited(pl: Any, strategy: dict[str, Any]) -> Any:
    runner = trainer(pl, accelerator="cpu", limit_test_batches=2, **strategy)
    numbers = TensorDataset(torch.arange(1.0, 9.0))
    return runner.test(model(pl, test_step=test_step), loader(numbers, batch_size=1), verbose=False)[0]["sum"]


def test_a_limit_is_that_of_one_process(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 90. The first two of the numbers 1 to 8."""
    two = {"devices": 2, "strategy": "ddp_fork"}
    theirs, ours = both(lightning, fulmen, lambda pl: (_limited(pl, {"devices": 1}), _limited(pl, two)))
    assert ours == (1 + 2, 1 + 2)
    assert theirs == (1 + 2, 1 + 2 + 3 + 4)
