"""Callbacks that change how a run trains, watch it, or look for its settings; and the tuner."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen import callbacks as cb
from fulmen.demos.boring_classes import BoringModel
from fulmen.loggers import CSVLogger
from fulmen.tuner import Tuner
from fulmen.utilities import measure_flops, memory
from fulmen.utilities.throughput import Throughput, get_available_flops

from .runs import SMALL


class Deep(BoringModel):
    """A backbone with batch norm, a head, and sizes to be found."""

    def __init__(self, lr: float = 0.1, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.batch_size = lr, batch_size
        self.backbone = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.backbone(x))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.step(batch)
        self.log("loss", loss)
        return loss

    def predict_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self(batch)

    def loader(self) -> DataLoader[Tensor]:
        torch.manual_seed(0)
        data: Any = torch.rand(16, 32)
        return DataLoader(data, self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], self.lr)


def _twice(folder: Path, make: Any, **flags: Any) -> None:
    """A run, and one that goes on from its checkpoint."""
    for epochs in (2, 3):
        trainer = pl.Trainer(**{**SMALL, "max_epochs": epochs, **flags}, default_root_dir=folder, callbacks=[make()])
        trainer.fit(Deep(), ckpt_path=None if epochs == 2 else str(folder / "run.ckpt"))
        if epochs == 2:
            trainer.save_checkpoint(folder / "run.ckpt")


class Unfreezing(cb.BaseFinetuning):
    """Trains the backbone from the second epoch on."""

    def __init__(self) -> None:
        super().__init__()

    def freeze_before_training(self, pl_module: Any) -> None:
        with suppress(NotImplementedError):
            super().freeze_before_training(pl_module)
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        with suppress(NotImplementedError):
            super().finetune_function(pl_module, epoch, optimizer)
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer)


def finetuned(folder: Path) -> None:
    """A backbone that is frozen for an epoch, and groups of an optimizer that come back."""
    _twice(folder, Unfreezing)
    _twice(folder, lambda: cb.BackboneFinetuning(unfreeze_backbone_at_epoch=1, verbose=False))


def averaged(folder: Path) -> None:
    """Means of weights, also where a run ends early."""
    _twice(folder, lambda: cb.EMAWeightAveraging(decay=0.5, update_starting_at_epoch=0), enable_checkpointing=True)
    _twice(folder, lambda: cb.WeightAveraging(device="cpu"))
    assert cb.WeightAveraging().should_update(step_idx=1)
    _twice(folder, lambda: cb.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1))
    swa = cb.StochasticWeightAveraging(0.01)
    one, other = Deep(), Deep()
    swa.transfer_weights(one, other)
    assert torch.equal(one.layer.weight, other.layer.weight)
    swa.update_parameters(one, other, torch.tensor(0), swa.avg_fn)
    assert swa.avg_fn(torch.zeros(1), torch.ones(1), torch.tensor(1)) == 0.5
    assert swa.pl_module_contains_batch_norm(one)
    swa.reset_batch_norm_and_save_state(one)
    swa.reset_momenta()
    for averaging in (cb.EMAWeightAveraging(), cb.StochasticWeightAveraging(0.01)):
        with suppress(ValueError):
            pl.Trainer(**SMALL, callbacks=[averaging, Ending()]).fit(Deep())


class Ending(cb.Callback):
    """Ends a run with an error."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        raise ValueError("on purpose")


def pruned(folder: Path) -> None:
    """Weights that are taken out, after training epochs or after validations."""
    for after_training in (True, False):
        _twice(
            folder,
            lambda after=after_training: cb.ModelPruning(
                "l1_unstructured", amount=0.2, resample_parameters=True, prune_on_train_epoch_end=after
            ),
        )


class Writing(cb.BasePredictionWriter):
    """Writes what is predicted."""

    def __init__(self, folder: Path) -> None:
        super().__init__("batch_and_epoch")
        self.folder = folder

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, indices: Any, *where: Any) -> None:
        with suppress(NotImplementedError):
            super().write_on_batch_end(trainer, module, prediction, indices, *where)
        torch.save(prediction, self.folder / f"{where[1]}.pt")

    def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, batch_indices: Any) -> None:
        with suppress(NotImplementedError):
            super().write_on_epoch_end(trainer, module, predictions, batch_indices)
        torch.save(predictions, self.folder / "all.pt")


def watched(folder: Path) -> None:
    """Rates, statistics and predictions of each stage, and a checkpoint where one fails."""
    more: dict[str, Any] = {**SMALL, "limit_val_batches": 4, "logger": CSVLogger(folder)}
    trainer = pl.Trainer(
        **more,
        callbacks=[
            cb.ThroughputMonitor(batch_size_fn=len, window_size=2),
            cb.DeviceStatsMonitor(cpu_stats=True),
            Writing(folder),
        ],
    )
    model = Deep()
    trainer.fit(model)
    trainer.validate(model, verbose=False)
    trainer.test(model, verbose=False)
    trainer.predict(model)
    assert (folder / "all.pt").exists()
    _twice(folder, lambda: cb.SpikeDetection(warmup=10))
    saving = cb.OnExceptionCheckpoint(folder, "end")
    for callbacks in ([saving], [saving, Ending()]):
        with suppress(ValueError):
            pl.Trainer(**{**SMALL, "enable_checkpointing": True}, callbacks=callbacks).fit(Deep())
    assert Path(saving.ckpt_path).exists()


def settings_found(folder: Path) -> None:
    """A batch size and a learning rate, by callbacks and by the tuner."""
    short: dict[str, Any] = {"num_training": 20, "early_stop_threshold": None}
    made = (
        lambda: cb.BatchSizeFinder(max_trials=1, steps_per_trial=1),
        lambda: cb.LearningRateFinder(num_training_steps=20, early_stop_threshold=None),
    )
    for make in made:
        _twice(folder, make, limit_train_batches=1.0)
    for stage in ("validate", "test", "predict"):
        trainer = pl.Trainer(**SMALL, callbacks=[made[0]()])
        getattr(trainer, stage)(Deep())
    trainer = pl.Trainer(**{**SMALL, "limit_train_batches": 1.0})
    tuner = Tuner(trainer)
    tuner.lr_find(Deep(), **short)
    assert tuner.scale_batch_size(Deep(), max_trials=2, steps_per_trial=1) == 4


def measured(folder: Path) -> None:
    """Rates by hand, and what memory errors look like."""
    with torch.device("meta"):
        model = nn.Linear(2, 2)
        assert measure_flops(model, lambda: model(torch.rand(1, 2)), lambda y: y.sum()) > 0
    rates = Throughput(available_flops=100.0, window_size=2)
    for count in range(1, 4):
        rates.update(time=float(count), batches=count, samples=count, lengths=count, flops=10)
    assert rates.compute()["device/batches_per_sec"] == 1
    rates.reset()
    assert get_available_flops(torch.device("cpu"), torch.float32) is None
    assert not memory.recursive_detach({"a": torch.ones(1, requires_grad=True)})["a"].requires_grad
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    assert memory.is_oom_error(error) and memory.is_out_of_cpu_memory(error)
    assert not memory.is_cuda_out_of_memory(error) and not memory.is_cudnn_snafu(error)
    memory.garbage_collection_cuda()
