"""Resuming with another number of workers, and with loaders that know themselves where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import few
from tests.resume.course import Record, assert_equal, check_every_point, end_of, seed
from tests.resume.loaders import Augmented, StatefulFlow, StatefulSampler, own
from tests.resume.test_every_step import QUIET, Model, nothing_else, sampled
from torch.utils.data import DataLoader, Dataset

import fulmen as pl

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*has a `validation_step`, but there is no validation loader.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
    pytest.mark.filterwarnings("ignore:.*will create 3 worker processes.*"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated.*"),  # torchdata's
]


class Save(pl.Callback):
    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def fit(record: Record, loader: Any, callbacks: list[pl.Callback], path: Any = None) -> pl.Trainer:
    trainer = pl.Trainer(max_epochs=2, logger=record.logger, callbacks=callbacks, **QUIET)
    trainer.fit(Model(record), loader, ckpt_path=path)
    return trainer


def samples(record: Record) -> list[list[int]]:
    return [numbers for _, numbers in record.samples]


CHANGES = [(0, 2), (2, 0), (2, 3), (3, 1)]


@pytest.mark.parametrize(
    ("before", "now", "noise", "kind"),
    few(
        [(*change, noise, kind) for change in CHANGES for noise in (False, True) for kind in ("shuffle", "stateful")], 6
    ),
)
def test_another_number_of_workers(tmp_path: Path, before: int, now: int, noise: bool, kind: str) -> None:
    def loader(workers: int) -> Any:
        sampler: Any = StatefulSampler(26) if kind == "stateful" else None
        shuffle = kind == "shuffle"
        return DataLoader(Augmented(26, noise), 4, shuffle=shuffle or None, sampler=sampler, num_workers=workers)

    whole, again, path = Record(), Record(), tmp_path / "cut.ckpt"
    seed(5)
    uncut = fit(whole, loader(before), [Save(path, 2)])
    seed(77)
    if noise:
        with pytest.warns(UserWarning, match=f"What to do: `DataLoader.num_workers={before}") as caught:
            trainer = fit(again, loader(now), [], path)
        assert len([one for one in caught if "num_workers=" in str(one.message)]) == 1
    else:
        trainer = fit(again, loader(now), [], path)
        assert_equal(end_of(trainer, []), end_of(uncut, []))
    # the rest of the epoch; the next one is shuffled with random numbers that the noise has moved
    assert samples(again)[:4] == samples(whole)[3:7]


def test_no_sample_is_loaded_to_be_thrown_away(tmp_path: Path) -> None:
    loaded: list[int] = []

    class Counting(Augmented):
        def __getitem__(self, index: int) -> Any:
            loaded.append(index)
            return super().__getitem__(index)

    path = tmp_path / "cut.ckpt"
    seed(5)
    whole, again = Record(), Record()
    fit(whole, DataLoader(Counting(26), 4, shuffle=True), [Save(path, 2)])
    loaded.clear()
    fit(again, DataLoader(Counting(26), 4, shuffle=True), [], path)
    assert loaded == [index for numbers in samples(whole)[3:] for index in numbers]


def test_a_stateful_flow_reads_nothing_twice(tmp_path: Path) -> None:
    path, reads = tmp_path / "cut.ckpt", []
    seed(5)
    fit(Record(), DataLoader(StatefulFlow(24, []), 4), [Save(path, 2)])
    fit(Record(), DataLoader(StatefulFlow(24, reads), 4), [], path)
    assert reads[0] == 12


def workers(count: int) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(Augmented(26), 4, shuffle=True, num_workers=count, generator=own())


@pytest.mark.parametrize("count", [0, 2])
def test_torchdatas_stateful_loader(tmp_path: Path, count: int) -> None:
    """It continues by its own state. What its workers draw is theirs to keep; they seed the samples anew."""
    pytest.importorskip("torchdata.stateful_dataloader")

    def run(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(max_epochs=2, logger=record.logger, callbacks=callbacks, **QUIET)
        loader = workers(count)
        loader.dataset.noise = False
        trainer.fit(Model(record), loader, ckpt_path=path)
        return trainer

    check_every_point(run, tmp_path, sampled(8), nothing_else)


def test_a_loader_without_batches_of_its_own(tmp_path: Path) -> None:
    """With `batch_size=None` an index is a sample."""

    class Ready(Dataset[Any]):
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> Any:
            inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(index))
            return inputs, (inputs.sum(1) > 0).long(), torch.arange(3) + 3 * index

    def run(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        return fit(record, DataLoader(Ready(), batch_size=None, shuffle=True), callbacks, path)

    check_every_point(run, tmp_path, sampled(8), nothing_else)


@pytest.mark.parametrize("change", ["length", "shape", "less"])
def test_another_loader_is_told_of(tmp_path: Path, change: str) -> None:
    path = tmp_path / "cut.ckpt"
    fit(Record(), DataLoader(Augmented(26), 4), [Save(path, 4)])
    changed: Any = {
        "length": lambda: DataLoader(Augmented(34), 4),
        "shape": lambda: [DataLoader(Augmented(34), 4), DataLoader(Augmented(34), 4)],
        "less": lambda: DataLoader(Augmented(14), 4),
    }[change]()
    record = Record()
    with pytest.warns(UserWarning, match="loader of 7 batches.*first 5 batches are left out.*the same loader"):
        fit(record, changed, [], path)
    if change == "less":
        assert samples(record)[0] == [0, 1, 2, 3]  # of the next epoch
    else:
        assert samples(record)[0][:4] == [20, 21, 22, 23]


def test_loaders_are_made_anew_when_they_would_have_been(tmp_path: Path) -> None:
    def run(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        class Makes(Model):
            def train_dataloader(self) -> Any:
                record.notes.append(f"train {self.current_epoch}")
                return DataLoader(Augmented(18), 4, shuffle=True, generator=own(int(torch.randint(99, ()))))

            def val_dataloader(self) -> Any:
                return DataLoader(Augmented(8), 4, shuffle=True, generator=own(int(torch.randint(99, ()))))

        seed(number)
        trainer = pl.Trainer(
            max_epochs=5, logger=record.logger, callbacks=callbacks, reload_dataloaders_every_n_epochs=2,
            check_val_every_n_epoch=2, **QUIET,
        )  # fmt: skip
        trainer.fit(Makes(record), ckpt_path=path)
        if path is not None:
            record.notes.pop(0)  # the loader of the epoch that goes on
        return trainer

    def in_epochs_of_one_loader(points: list[Any]) -> list[Any]:
        # a loader that is made of random numbers is another one in a process that begins in the middle of its time
        return [one for one in points if one[1][0] == "epoch"][1::2]

    check_every_point(run, tmp_path, in_epochs_of_one_loader, nothing_else)
