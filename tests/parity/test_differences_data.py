"""Rows of ``docs/differences.md`` on loaders, random numbers, and the sanity check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from .differing import batches, both, loader, model, rows, trainer

EPOCHS = 3


def _shuffled(generator: torch.Generator | None = None) -> Any:
    """Three batches of two, in another order each epoch."""
    return loader(rows(6), shuffle=True, generator=generator)


def _numbers(batch: Tensor) -> list[int]:
    return [int(number) for number in batch[:, 0]]


def _collecting(seen: list[int]) -> Callable[..., Any]:
    """A ``training_step`` that writes down which rows it gets."""

    def training_step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
        seen.extend(_numbers(batch))
        loss: Tensor = self.layer(batch).mean()
        return loss

    return training_step


def test_a_generator_of_one_s_own_draws_what_it_draws_by_hand(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 7. Beside `for batch in loader`."""

    def by_hand() -> list[int]:
        shuffled = _shuffled(torch.Generator().manual_seed(5))
        return [number for _ in range(EPOCHS) for batch in shuffled for number in _numbers(batch)]

    def trained(pl: Any) -> list[int]:
        seen: list[int] = []
        shuffled = _shuffled(torch.Generator().manual_seed(5))
        trainer(pl, max_epochs=EPOCHS).fit(model(pl, training_step=_collecting(seen)), shuffled)
        return seen

    theirs, ours = both(lightning, fulmen, trained)
    assert ours == by_hand()
    assert theirs != by_hand()
    assert theirs[:6] == ours[:6]


def test_loaders_made_anew_are_opened_once(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 8. Beside a loop that makes a loader for each epoch."""

    def by_hand() -> list[int]:
        torch.manual_seed(0)
        model(fulmen)
        return [number for _ in range(EPOCHS) for batch in _shuffled() for number in _numbers(batch)]

    def trained(pl: Any) -> list[int]:
        seen: list[int] = []

        class Data(pl.LightningDataModule):
            def train_dataloader(self) -> Any:
                return _shuffled()

        flags = {"max_epochs": EPOCHS, "reload_dataloaders_every_n_epochs": 1}
        trainer(pl, **flags).fit(model(pl, training_step=_collecting(seen)), datamodule=Data())
        return seen

    theirs, ours = both(lightning, fulmen, trained)
    assert ours == by_hand()
    assert theirs != by_hand()
    assert theirs[:6] == ours[:6]


class Lessons(IterableDataset[Tensor]):
    """Data of a difficulty that is read when the data set is opened, as it is when workers start."""

    def __init__(self) -> None:
        self.difficulty = 0

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Tensor]:
        return iter([torch.full((2,), float(self.difficulty))] * 2)


@pytest.mark.parametrize("stage", ["train", "validation"])
def test_what_the_start_of_an_epoch_changes_holds_for_that_epoch(
    lightning: ModuleType, fulmen: ModuleType, stage: str
) -> None:
    """Row 9. Beside a loop that sets the difficulty and then goes over the loader."""

    def difficulties(pl: Any) -> list[int]:
        seen: list[int] = []
        lessons = Lessons()

        def start(self: Any) -> None:
            lessons.difficulty = self.current_epoch + 1

        def step(self: Any, batch: Tensor, batch_idx: int) -> Tensor:
            seen.append(_numbers(batch)[0])
            loss: Tensor = self.layer(batch).mean()
            return loss

        loaders = {"train": batches(1), "validation": batches(1), stage: loader(lessons)}
        module = model(pl, **{f"on_{stage}_epoch_start": start, f"{_verb(stage)}_step": step})
        trainer(pl, max_epochs=EPOCHS).fit(module, *loaders.values())
        return seen

    theirs, ours = both(lightning, fulmen, difficulties)
    assert ours == [1, 2, 3]
    assert theirs == {"train": [0, 2, 3], "validation": [0, 1, 2]}[stage]


def _verb(stage: str) -> str:
    return {"train": "training"}.get(stage, stage)


def test_data_made_for_an_evaluation_can_be_trained_on(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 10. A data module makes its data when it is first asked for any."""

    def trained(pl: Any) -> str:
        class Data(pl.LightningDataModule):
            data: Tensor | None = None

            def any_dataloader(self) -> Any:
                if self.data is None:
                    self.data = torch.randn(4, 2)
                return loader(self.data, batch_size=None, sampler=[slice(0, 4)])

            train_dataloader = val_dataloader = any_dataloader

        module, data, runner = model(pl, validation_step=lambda self, batch, batch_idx: None), Data(), trainer(pl)
        runner.validate(module, datamodule=data, verbose=False)
        try:
            runner.fit(module, datamodule=data)
        except RuntimeError as error:
            return str(error)
        return "trained"

    theirs, ours = both(lightning, fulmen, trained)
    assert "Inference tensors cannot be saved for backward" in theirs
    assert ours == "trained"


Trace = tuple[list[int], list[float], list[float]]


def _trace_of(pl: Any, steps: int) -> Trace:
    """Training and validation with ``steps`` of sanity check, in which validation leaves as much as it can.

    Returns:
        The order of the training data, what a buffer counts, and a metric's values, one for each validation.
    """
    torchmetrics = pytest.importorskip("torchmetrics", reason="its metrics hold what validation leaves")
    torch.manual_seed(0)
    seen: list[int] = []
    counts: list[float] = []
    means: list[float] = []

    def validation_step(self: Any, batch: Tensor, batch_idx: int) -> None:
        self.count += 1
        self.mean.update(batch.mean())

    def on_validation_epoch_end(self: Any) -> None:
        mean = self.mean.compute()
        if not self.trainer.sanity_checking:
            counts.append(self.count.item())
            means.append(mean.item())

    hooks = {"validation_step": validation_step, "on_validation_epoch_end": on_validation_epoch_end}
    module = model(pl, training_step=_collecting(seen), **hooks)
    module.register_buffer("count", torch.zeros(()))
    module.mean = torchmetrics.MeanMetric()
    generator = torch.Generator().manual_seed(5)
    trainer(pl, num_sanity_val_steps=steps).fit(module, _shuffled(generator), _shuffled(generator))
    return seen, counts, means


def test_the_sanity_check_leaves_no_trace(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 11. Beside a run without one: in a generator, a buffer, and a metric that is not itself logged."""
    with_check = both(lightning, fulmen, lambda pl: _trace_of(pl, steps=2))
    without = both(lightning, fulmen, lambda pl: _trace_of(pl, steps=0))
    assert with_check[1] == without[1]
    assert without[1][1:] == ([3.0], [2.5])
    assert not any(a == b for a, b in zip(with_check[0], without[0]))


def test_making_validation_loaders_does_not_change_training(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 12. The hook draws a random subset; with a sanity check or without, training is the same."""

    def order(pl: Any, steps: int) -> list[int]:
        torch.manual_seed(0)
        seen: list[int] = []

        class Data(pl.LightningDataModule):
            def train_dataloader(self) -> Any:
                return _shuffled()

            def val_dataloader(self) -> Any:
                return loader(rows(6)[torch.randperm(6)[:4]])

        module = model(pl, training_step=_collecting(seen), validation_step=lambda self, batch, batch_idx: None)
        trainer(pl, num_sanity_val_steps=steps).fit(module, datamodule=Data())
        return seen

    theirs, ours = both(lightning, fulmen, lambda pl: (order(pl, steps=2), order(pl, steps=0)))
    assert ours[0] == ours[1]
    assert theirs[0] != theirs[1]


def test_the_sanity_check_shows_what_validation_shows(lightning: ModuleType, fulmen: ModuleType) -> None:
    """Row 13. A callback reads a metric of one of two loaders, which the check is there to try out."""

    def read(pl: Any) -> tuple[list[float], list[float]]:
        checked: list[float] = []
        validated: list[float] = []

        class Reading(pl.Callback):
            def on_validation_end(self, runner: Any, module: Any) -> None:
                value = runner.callback_metrics.get("value/dataloader_idx_1", torch.tensor(-1.0))
                (checked if runner.sanity_checking else validated).append(value.item())

        def validation_step(self: Any, batch: Tensor, batch_idx: int, dataloader_idx: int) -> None:
            self.log("value", float(dataloader_idx))

        flags = {"num_sanity_val_steps": 2, "callbacks": [Reading()]}
        trainer(pl, **flags).fit(model(pl, validation_step=validation_step), batches(1), [batches(1), batches(1)])
        return checked, validated

    theirs, ours = both(lightning, fulmen, read)
    assert ours == ([1.0], [1.0])
    assert theirs == ([-1.0], [1.0])
