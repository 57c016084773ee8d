"""Resuming runs whose optimizers, schedules and ends are of all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import few
from tests.resume.course import Record, assert_equal, check_every_point, end_of, seed
from tests.resume.loaders import Augmented, Flow, StatefulFlow, memory
from tests.resume.test_every_step import QUIET, Model, nothing_else, sampled
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen.callbacks import EarlyStopping, GradientAccumulationScheduler
from fulmen.utilities.combined_loader import CombinedLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*states of callbacks that this Trainer does not have.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
    pytest.mark.filterwarnings("ignore:.*has a `validation_step`, but there is no validation loader.*"),
]


class Pair(Model):
    """Two optimizers by hand: one gathers gradients over two batches, the other keeps what was left to it."""

    def __init__(self, record: Record) -> None:
        super().__init__(record, norm=False)
        self.automatic_optimization = False
        self.other = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = super().training_step(batch, batch_idx)["loss"]
        first, second = self.optimizers()
        self.manual_backward(loss / 2)
        if batch_idx % 2:
            first.step()
            first.zero_grad()
        inputs = torch.cat([part[0] for part in batch.values() if part is not None])
        self.manual_backward((self.other(inputs) + torch.randn(2)).square().mean())
        self.clip_gradients(second, 0.5, "norm")
        second.step()  # its gradients are never put back to zero
        if batch_idx % 2:
            for scheduler in self.lr_schedulers():
                scheduler.step()

    def configure_optimizers(self) -> Any:
        first = torch.optim.Adam(self.net.parameters(), lr=0.01)
        second = torch.optim.SGD(self.other.parameters(), lr=0.01, momentum=0.9)
        return [first, second], [torch.optim.lr_scheduler.ExponentialLR(each, 0.9) for each in (first, second)]


@pytest.mark.parametrize("mode", few(["min_size", "max_size", "max_size_cycle"], 1))
def test_two_optimizers_by_hand_with_combined_loaders(tmp_path: Path, mode: Any) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(max_epochs=2, logger=record.logger, callbacks=callbacks, val_check_interval=2, **QUIET)
        loaders = {
            "map": DataLoader(Augmented(26), 4, shuffle=True),
            "memory": DataLoader(memory(17), 4, shuffle=True),
            "stateful": DataLoader(StatefulFlow(44, []), 4),
        }
        trainer.fit(Pair(record), CombinedLoader(loaders, mode), DataLoader(Augmented(6), 3), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(16), nothing_else)


class Scheduled(Model):
    def __init__(self, record: Record, kind: str) -> None:
        super().__init__(record)
        self.kind = kind

    def configure_optimizers(self) -> Any:
        lbfgs = self.kind == "closure"
        optimizer: Any = torch.optim.LBFGS if lbfgs else torch.optim.AdamW
        optimizer = optimizer(self.parameters(), lr=0.01)
        rates = torch.optim.lr_scheduler
        kinds: dict[str, Any] = {
            "epochs": {"scheduler": rates.CosineAnnealingLR(optimizer, 3)},
            "plateau": {"scheduler": rates.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5), "monitor": "noise"},
            "plateau by steps": {
                "scheduler": rates.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9),
                "monitor": "loss_step", "interval": "step", "frequency": 2,
            },
            "chain": {
                "scheduler": rates.SequentialLR(
                    optimizer, [rates.LinearLR(optimizer, 0.1, total_iters=4), rates.StepLR(optimizer, 3)], [4]
                ),
                "interval": "step",
            },
            "closure": {"scheduler": rates.MultiStepLR(optimizer, [1, 2])},
        }  # fmt: skip
        return {"optimizer": optimizer, "lr_scheduler": kinds[self.kind]}


@pytest.mark.parametrize("kind", ["epochs", "plateau", "plateau by steps", "chain", "closure"])
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step.*")
def test_schedules(tmp_path: Path, kind: str) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(max_epochs=3, logger=record.logger, callbacks=callbacks, gradient_clip_val=0.5, **QUIET)
        loader = DataLoader(Augmented(18), 4, shuffle=True)
        trainer.fit(Scheduled(record, kind), loader, DataLoader(Augmented(6), 3), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(10), nothing_else)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_precisions(tmp_path: Path, precision: Any) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        trainer = pl.Trainer(
            max_epochs=2, logger=record.logger, callbacks=callbacks, precision=precision, accumulate_grad_batches=2,
            **QUIET,
        )  # fmt: skip
        trainer.fit(Model(record, norm=False), DataLoader(Augmented(18), 4, shuffle=True), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(6), nothing_else)


def test_a_schedule_of_accumulation(tmp_path: Path) -> None:
    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        schedule = GradientAccumulationScheduler({0: 2, 1: 3, 2: 1})
        trainer = pl.Trainer(max_epochs=3, logger=record.logger, callbacks=[schedule, *callbacks], **QUIET)
        trainer.fit(Model(record), DataLoader(Augmented(30), 4, shuffle=True), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(12), nothing_else)


def test_early_stopping(tmp_path: Path) -> None:
    """It stops where it would have, also if it was just about to when the file was written."""

    def fit(record: Record, callbacks: list[pl.Callback], path: Any, number: int) -> pl.Trainer:
        seed(number)
        stop = EarlyStopping("val_loss", patience=2, min_delta=1.0)
        trainer = pl.Trainer(
            max_epochs=3, logger=record.logger, callbacks=[stop, *callbacks], val_check_interval=2, **QUIET
        )
        loader = DataLoader(Augmented(26), 4, shuffle=True)
        trainer.fit(Model(record), loader, DataLoader(Augmented(6), 3), ckpt_path=path)
        return trainer

    check_every_point(fit, tmp_path, sampled(40), nothing_else)


class Seen(pl.Callback):
    def __init__(self) -> None:
        self.where: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.where.append((trainer.current_epoch, batch_idx))


@pytest.mark.parametrize("steps", [1, 3, 5, 8])
@pytest.mark.parametrize("saved_by", ["trainer", "callback"])
def test_a_limit_is_raised(tmp_path: Path, steps: int, saved_by: str) -> None:
    """An epoch that a limit of steps cut short goes on where it was cut."""

    def fit(limit: int, callbacks: list[pl.Callback], path: Any = None) -> pl.Trainer:
        seed(7)
        record = Record()
        quiet = {**QUIET, "enable_checkpointing": saving in callbacks}
        trainer = pl.Trainer(max_epochs=-1, max_steps=limit, logger=record.logger, callbacks=callbacks, **quiet)
        model = Model(record)
        model.on_train_epoch_end = lambda: None  # type: ignore[method-assign]  # it would draw once more
        trainer.fit(model, DataLoader(Augmented(20), 4, shuffle=True), ckpt_path=path)
        return trainer

    saving = pl.callbacks.ModelCheckpoint(tmp_path, "cut")
    first = fit(steps, [saving])
    if saved_by == "trainer":
        first.save_checkpoint(tmp_path / "cut.ckpt")
    seen, seen_before = Seen(), Seen()
    whole = fit(12, [seen_before])
    again = fit(12, [seen], tmp_path / "cut.ckpt")
    assert seen.where == seen_before.where[steps:]
    ours, theirs = end_of(again, []), end_of(whole, [])
    assert_equal(ours, theirs)


def test_gradients_of_a_window_that_another_number_of_batches_closes(tmp_path: Path) -> None:
    """Two batches of a window of four, closed after four more of eight: the mean of all six."""
    data = torch.randn(24, 4)

    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss: Tensor = self.layer(batch).square().mean()
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.gradient = self.layer.weight.grad.clone()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.0)

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "two.ckpt")

    flags: dict[str, Any] = {**QUIET, "max_epochs": 1, "logger": False}
    loader = DataLoader(data, 4)  # type: ignore[arg-type]
    pl.Trainer(accumulate_grad_batches=4, callbacks=[Save()], **flags).fit(Plain(), loader)
    module = Plain()
    pl.Trainer(accumulate_grad_batches=8, **flags).fit(module, loader, ckpt_path=tmp_path / "two.ckpt")
    expected = Plain()
    expected.layer(data).square().mean().backward()
    torch.testing.assert_close(module.gradient, expected.layer.weight.grad)


def test_flows_are_told_of(tmp_path: Path) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "two.ckpt")

    def fit(record: Record, path: Any = None) -> None:
        trainer = pl.Trainer(max_epochs=1, logger=False, callbacks=[Save()], **QUIET)
        trainer.fit(Model(record), DataLoader(Flow(20), 4), ckpt_path=path)

    fit(Record())
    record = Record()
    with pytest.warns(UserWarning, match="read again and thrown away.*give it.*`state_dict`.*StatefulDataLoader"):
        fit(record, tmp_path / "two.ckpt")
    assert [numbers for _, numbers in record.samples] == [[8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]]
