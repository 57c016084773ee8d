"""What scripts of every day do, in places where a framework could get in the way."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import fulmen as pl
from fulmen.utilities.tree import move_data_to_device

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "max_epochs": 2,
}  # fmt: skip


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.layer(batch[0]) - batch[1]).pow(2).mean()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _data(**options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(16, 4), torch.randn(16, 1)), batch_size=4, **options)


def _fit(model: Model, train: Any = None, val: Any = None, **flags: Any) -> pl.Trainer:
    trainer = pl.Trainer(**{**QUIET, **flags})
    trainer.fit(model, _data() if train is None else train, _data() if val is None else val)
    return trainer


def test_validation_in_fit_may_turn_gradients_on() -> None:
    class Penalised(Model):
        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            with torch.enable_grad():
                inputs = batch[0].clone().requires_grad_()
                (slope,) = torch.autograd.grad(self.layer(inputs).sum(), inputs)
            self.log("val_loss", slope.pow(2).mean())

    assert _fit(Penalised()).callback_metrics["val_loss"] > 0


def test_what_validation_keeps_can_be_trained_on() -> None:
    class Remembering(Model):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("memory", torch.zeros(4))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + (self.layer.weight * self.memory).sum()

        def on_validation_epoch_end(self) -> None:
            self.memory = torch.randn(4)

    assert _fit(Remembering()).global_step == 8


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_logged_numbers_are_not_halved(precision: str) -> None:
    class Counting(Model):
        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("count", 60000.0, reduce_fx="sum")
            self.log("accuracy", 0.9963)

    metrics = _fit(Counting(), precision=precision).callback_metrics
    assert metrics["count"] == 240000.0
    assert metrics["accuracy"].item() == pytest.approx(0.9963, abs=1e-7)


def test_batches_whose_size_is_unclear_count_the_same() -> None:
    """Time comes first in the inputs: 3 and 30 are no numbers of samples."""
    batches = [(torch.randn(time, 4, 4), torch.randn(4, 1)) for time in (3, 30)]

    class Series(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(batches)

    class Recurrent(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step([batch[0].mean(0), batch[1]], batch_idx)

    model = Recurrent()
    before = model.layer.weight.detach().clone()
    loss = sum(model.training_step(batch, 0) for batch in batches) / 2
    (right,) = torch.autograd.grad(loss, model.layer.weight)
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1}, accumulate_grad_batches=2, limit_val_batches=0)
    with pytest.warns(UserWarning, match="loss_weight"):
        trainer.fit(model, DataLoader(Series(), batch_size=None), _data())
    assert torch.allclose((before - model.layer.weight) / 0.1, right, atol=1e-6)


def test_a_batch_that_is_a_dataclass_keeps_what_it_was_given() -> None:
    @dataclasses.dataclass
    class Batch:
        inputs: Tensor
        seen: int = dataclasses.field(init=False, default=0)

        def __post_init__(self) -> None:
            self.inputs = self.inputs * 2

    batch = Batch(torch.ones(1))
    batch.seen = 7
    moved = move_data_to_device(batch, torch.device("cpu"))
    assert (moved.inputs.item(), moved.seen) == (2.0, 7)


def test_metrics_that_are_made_in_validation() -> None:
    torchmetrics = pytest.importorskip("torchmetrics", reason="its tracker is what is tested")

    class Tracking(Model):
        def __init__(self) -> None:
            super().__init__()
            self.tracker = torchmetrics.MetricTracker(torchmetrics.MeanSquaredError(), maximize=False)

        def on_validation_epoch_start(self) -> None:
            self.tracker.increment()

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.tracker(self.layer(batch[0]), batch[1])

    model = Tracking()
    _fit(model)
    assert model.tracker.n_steps == 2
    assert model.tracker.compute_all().isfinite().all()


def test_callbacks_can_log() -> None:
    class Logging(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("batch", float(batch_idx))  # type: ignore[attr-defined]

    callback = Logging()
    assert _fit(Model(), callbacks=callback).callback_metrics["batch"] == 3
    assert not vars(callback)


def test_no_workers_stay_behind() -> None:
    _fit(Model(), _data(num_workers=1, persistent_workers=True), _data(num_workers=1, persistent_workers=True))
    assert not multiprocessing.active_children()


def test_data_without_batches_is_said() -> None:
    with pytest.warns(UserWarning, match="drop_last"):
        trainer = _fit(Model(), DataLoader(torch.ones(3, 4), batch_size=4, drop_last=True))
    assert trainer.global_step == 0


def test_the_first_error_is_the_one_raised() -> None:
    class Clumsy(pl.Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            raise KeyError("second")

    class Broken(Model):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"), pytest.warns(UserWarning, match="Clumsy.on_exception.*second"):
        _fit(Broken(), callbacks=Clumsy())


def test_an_epoch_that_failed_at_its_end_is_run_again() -> None:
    class Late(Model):
        broken = True
        ends: list[int]

        def on_validation_epoch_end(self) -> None:
            if self.broken and not self.trainer.sanity_checking:
                raise ValueError("not yet")

        def on_train_epoch_end(self) -> None:
            self.ends.append(self.current_epoch)

    model = Late()
    model.ends = []
    trainer = pl.Trainer(**QUIET)
    with pytest.raises(ValueError, match="not yet"):
        trainer.fit(model, _data(), _data())
    model.broken = False
    trainer.fit(model, _data(), _data())
    assert model.ends == [0, 1]


def test_clipping_is_set_in_one_place() -> None:
    class Clipping(Model):
        def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
            self.clip_gradients(optimizer, gradient_clip_val=0.5)

    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="Remove one of the two"):
        _fit(Clipping(), gradient_clip_val=1.0)


def test_a_metric_that_is_only_updated_has_no_step_value() -> None:
    torchmetrics = pytest.importorskip("torchmetrics", reason="a metric is what is logged")

    class Updating(Model):
        def __init__(self) -> None:
            super().__init__()
            self.total = torchmetrics.SumMetric()

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            self.total.update(1.0)
            self.log("total", self.total, on_step=True, on_epoch=False)
            return super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match="on_epoch=True"):
        _fit(Updating())


def test_a_loader_that_gives_less_than_it_says(tmp_path: Path) -> None:
    class Short(DataLoader[Any]):
        def __len__(self) -> int:
            return 9

    with pytest.warns(UserWarning, match="Correct its `__len__`"):
        _fit(Model(), Short(TensorDataset(torch.randn(16, 4), torch.randn(16, 1)), batch_size=4))
