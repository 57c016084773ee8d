"""Runs whose weights are averaged, resumed from every point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.resume.course import Record, assert_equal, check_every_point, end_of, seed
from tests.resume.loaders import Augmented
from tests.resume.test_every_step import QUIET, Model, nothing_else, sampled
from tests.resume.test_schedules import Pair, StatefulFlow, memory
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from fulmen.utilities.combined_loader import CombinedLoader
from fulmen.utilities.seed import isolate_rng

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
    pytest.mark.filterwarnings("ignore:.*has a `validation_step`, but there is no validation loader.*"),
]


class Plain(Model):
    """Without a schedule of its own, and with a step that notes with which weights it validates."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx, dataloader_idx)
        if not self.trainer.sanity_checking:
            self.record.notes.append(f"validated {self.net[0].weight.sum().item()!r}")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Scheduled(Plain):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Late(WeightAveraging):
    """Some steps, and the ends of epochs."""

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None or (step_idx is not None and step_idx % 3 == 1)


def fitting(
    make: Callable[[], pl.Callback], model: Callable[[Record], Any] = Plain, **flags: Any
) -> Callable[[Record, list[pl.Callback], Any, int], pl.Trainer]:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        settings = {"max_epochs": 3, "val_check_interval": 3, "logger": record.logger, **QUIET, **flags}
        more = settings.pop("more", list)()
        trainer = pl.Trainer(callbacks=[make(), *more, *callbacks], **settings)
        train = DataLoader(Augmented(14), batch_size=4, shuffle=True)
        trainer.fit(model(record), train, DataLoader(Augmented(5), batch_size=4, shuffle=True), ckpt_path=path)
        return trainer

    return fit


AVERAGES: dict[str, tuple[Callable[[], pl.Callback], dict[str, Any]]] = {
    "mean, accumulated": (WeightAveraging, {"accumulate_grad_batches": 2, "model": Scheduled, "max_epochs": 2}),
    "buffers left": (lambda: WeightAveraging(use_buffers=False), {"max_epochs": 2}),
    "ema": (lambda: EMAWeightAveraging(decay=0.8, update_every_n_steps=2, update_starting_at_step=3), {}),
    "epochs": (lambda: EMAWeightAveraging(decay=0.8, update_starting_at_epoch=1, update_every_n_steps=0), {}),
    "own": (Late, {"max_epochs": 2}),
    "bf16-true": (lambda: EMAWeightAveraging(decay=0.8), {"precision": "bf16-true", "model": "no norm"}),
    "64-true": (WeightAveraging, {"precision": "64-true", "max_epochs": 2}),
    "bf16-mixed": (WeightAveraging, {"precision": "bf16-mixed", "max_epochs": 2, "model": "no norm"}),
    "swa": (lambda: StochasticWeightAveraging(0.02, 2, 2), {"max_epochs": 4, "val_check_interval": 1.0}),
    "swa, without norm": (lambda: StochasticWeightAveraging([0.02], 0.7, 0), {"model": "no norm"}),
    "swa, accumulated": (
        lambda: StochasticWeightAveraging(0.02, 0.5, annealing_strategy="linear", device=None),
        {"accumulate_grad_batches": 2, "model": Scheduled},
    ),
    "swa, bf16": (lambda: StochasticWeightAveraging(0.02, 2), {"precision": "bf16-mixed", "model": "no norm"}),
    "swa, stopped": (
        lambda: StochasticWeightAveraging(0.02, 2),
        {"more": lambda: [EarlyStopping("val_loss_epoch", patience=1, mode="max")], "val_check_interval": 1.0},
    ),
}  # fmt: skip


RARE = ("buffers left", "epochs", "64-true", "bf16-mixed", "swa, bf16")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.soak] * (kind in RARE)) for kind in AVERAGES])
def test_averages(tmp_path: Path, kind: str) -> None:
    make, flags = AVERAGES[kind]
    flags = dict(flags)
    model = flags.pop("model", Plain)
    if model == "no norm":
        model = lambda record: Plain(record, norm=False)  # noqa: E731
    tried = check_every_point(fitting(make, model, **flags), tmp_path, sampled(4), nothing_else)
    assert set(tried) == {"batch", "inside", "validation", "epoch"}


def test_two_optimizers_by_hand(tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(
            max_epochs=2, logger=record.logger, callbacks=[WeightAveraging(), *callbacks], val_check_interval=2, **QUIET
        )
        loaders = {
            "map": DataLoader(Augmented(26), 4, shuffle=True),
            "memory": DataLoader(memory(17), 4, shuffle=True),
            "stateful": DataLoader(StatefulFlow(44, []), 4),
        }
        trainer.fit(Pair(record), CombinedLoader(loaders, "min_size"), DataLoader(Augmented(6), 3), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(5), nothing_else)


@pytest.mark.parametrize(
    "make", [WeightAveraging, lambda: StochasticWeightAveraging(0.02, 1)], ids=["mean", "stochastic"]
)
@pytest.mark.parametrize("use_it_first", [False, True])
def test_saved_after_training(tmp_path: Path, make: Any, use_it_first: bool) -> None:
    """Goes on from what the Trainer saves when `fit` is over, as if the limit had been another from the start."""

    def fit(epochs: int, path: Any, number: int) -> tuple[pl.Trainer, Any]:
        seed(number)
        trainer = pl.Trainer(max_epochs=epochs, callbacks=[make()], logger=False, **QUIET)
        model = Plain(Record(), norm=False)
        trainer.fit(model, DataLoader(Augmented(12), 4, shuffle=True), DataLoader(Augmented(4), 4), ckpt_path=path)
        return trainer, model

    whole = end_of(fit(4, None, 1)[0], [])
    trainer, model = fit(2, None, 1)
    if use_it_first:
        with isolate_rng():
            trainer.validate(model, DataLoader(Augmented(4), 4), verbose=False)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert_equal(torch.load(tmp_path / "after.ckpt")["state_dict"], dict(model.state_dict()))
    again = end_of(fit(4, tmp_path / "after.ckpt", 2)[0], [])
    for part in ("weights", "optimizers", "schedulers", "counts"):
        assert_equal(again[part], whole[part], part)
