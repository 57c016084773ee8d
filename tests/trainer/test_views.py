"""Every public attribute of the Trainer, before, during and after a run; the values are those that Lightning shows."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs import QUIET, Net, data
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from fulmen.accelerators.cpu import CPUAccelerator
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.callbacks.progress.tqdm_progress import TQDMProgressBar
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.precision.precision import Precision
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException

INF = float("inf")
# Those of the reference's interface that say the same at any time of a run on one CPU.
FIXED: dict[str, Any] = {
    "accumulate_grad_batches": 1, "barebones": False, "check_val_every_n_epoch": 1, "ckpt_path": None,
    "device_ids": [0], "distributed_sampler_kwargs": None, "fast_dev_run": False, "global_rank": 0,
    "gradient_clip_algorithm": None, "gradient_clip_val": None, "interrupted": False, "is_global_zero": True,
    "limit_predict_batches": 1.0, "limit_test_batches": 1.0, "limit_train_batches": 1.0, "limit_val_batches": 1.0,
    "local_rank": 0, "log_every_n_steps": 50, "logger": None, "loggers": [], "max_epochs": 2, "max_steps": -1,
    "max_time": None, "min_steps": None, "node_rank": 0, "num_devices": 1, "num_nodes": 1, "num_sanity_val_steps": 2,
    "overfit_batches": 0.0, "precision": "32-true", "progress_bar_callback": None, "received_sigterm": False,
    "reload_dataloaders_every_n_epochs": 0, "scaler": None, "should_stop": False, "val_check_interval": 2,
    "world_size": 1,
}  # fmt: skip
# Those that are objects, by their class.
PARTS: dict[str, type] = {
    "accelerator": CPUAccelerator,
    "checkpoint_callback": ModelCheckpoint,
    "early_stopping_callback": EarlyStopping,
    "precision_plugin": Precision,
    "strategy": SingleDeviceStrategy,
}
# Those that change: at which moment from the one before, to what.
MOMENTS: dict[str, dict[str, Any]] = {
    "before": {
        "callback_metrics": {}, "logged_metrics": {}, "progress_bar_metrics": {}, "current_epoch": 0, "global_step": 0,
        "datamodule": None, "enable_validation": False, "evaluating": False, "is_last_batch": False,
        "lightning_module": None, "lr_scheduler_configs": 0, "model": None, "num_predict_batches": [],
        "num_sanity_val_batches": [], "num_test_batches": [], "num_training_batches": INF, "num_val_batches": [],
        "optimizers": 0, "predict_dataloaders": None, "predicting": False, "sanity_checking": False,
        "test_dataloaders": None, "testing": False, "train_dataloader": None, "training": False,
        "val_dataloaders": None, "validating": False, "val_check_batch": None, "state": "None/initializing/None",
        "estimated_stepping_batches": MisconfigurationException,
    },
    "setup": {
        "enable_validation": True, "lightning_module": Net, "model": Net, "training": True,
        "state": "fit/running/train", "estimated_stepping_batches": 8,
    },
    "on_fit_start": {
        "optimizers": 1, "lr_scheduler_configs": 1,
        "num_training_batches": 4, "train_dataloader": "train",  # loaded for the estimate
    },
    "sanity check": {
        "evaluating": True, "sanity_checking": True, "training": False, "num_val_batches": [3],
        "num_sanity_val_batches": [2], "val_dataloaders": "val", "state": "fit/running/sanity_check",
    },
    "on_train_start": {
        "evaluating": False, "sanity_checking": False, "training": True, "val_check_batch": 2,
        "state": "fit/running/train",
    },
    "batch 2": {
        "callback_metrics": {"l": 1.0}, "logged_metrics": {"l": 1.0}, "progress_bar_metrics": {"l": 1.0},
        "global_step": 2,
    },
    "validation": {
        "evaluating": True, "validating": True, "training": False, "state": "fit/running/validate",
    },
    "on_train_epoch_end": {
        "callback_metrics": {"l": 1.0, "v": 2.0}, "logged_metrics": {"l": 1.0, "v": 2.0}, "global_step": 4,
        "evaluating": False, "validating": False, "training": True, "is_last_batch": True,
        "state": "fit/running/train",
    },
    "on_train_end": {"current_epoch": 2, "global_step": 8},
    "after": {"state": "fit/finished/None", "training": False},
    "test": {
        "callback_metrics": {}, "logged_metrics": {}, "progress_bar_metrics": {}, "evaluating": True, "testing": True,
        "num_test_batches": [1], "test_dataloaders": "test", "state": "test/running/test",
    },
    "after test": {
        "callback_metrics": {"v": 2.0}, "logged_metrics": {"v": 2.0}, "evaluating": False, "testing": False,
        "state": "test/finished/None",
    },
    "predict": {
        "callback_metrics": {}, "logged_metrics": {}, "predicting": True, "num_predict_batches": [2],
        "predict_dataloaders": "predict", "state": "predict/running/predict",
    },
    "after predict": {"predicting": False, "state": "predict/finished/None"},
}  # fmt: skip
LOADERS = {"train": data(4), "val": data(3), "test": data(1), "predict": data(2)}
COUNTED = ("optimizers", "lr_scheduler_configs")


def expected_at(moment: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, changes in MOMENTS.items():
        found.update(changes)
        if name == moment:
            return found
    raise KeyError(moment)


def shown(trainer: Trainer, name: str) -> Any:
    try:
        value = getattr(trainer, name)
    except MisconfigurationException:
        return MisconfigurationException
    if name in COUNTED:
        return len(value)
    if name.endswith("_metrics"):
        return {key: float(one) for key, one in value.items()}
    if name == "state":
        return f"{value.fn}/{value.status}/{value.stage}"
    if isinstance(value, torch.nn.Module):
        return Net if isinstance(value, Net) else type(value)
    return next((name for name, loader in LOADERS.items() if value is loader), value)


class Asks(Net):
    """Looks at everything at certain moments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, Any]] = {}

    def look(self, moment: str) -> None:
        if moment not in self.found:
            self.found[moment] = {name: shown(self.trainer, name) for name in (*FIXED, *MOMENTS["before"])}

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), 0.1)
        return [optimizer], [StepLR(optimizer, 1)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("l", 1.0, prog_bar=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("v", 2.0)

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.look("setup")

    def on_fit_start(self) -> None:
        self.look("on_fit_start")

    def on_validation_start(self) -> None:
        self.look("sanity check" if self.trainer.sanity_checking else "validation")

    def on_train_start(self) -> None:
        self.look("on_train_start")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step == 2:
            self.look("batch 2")

    def on_train_epoch_end(self) -> None:
        self.look("on_train_epoch_end")

    def on_train_end(self) -> None:
        self.look("on_train_end")

    def on_test_start(self) -> None:
        self.look("test")

    def on_predict_start(self) -> None:
        self.look("predict")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Asks]:
    folder = tmp_path_factory.mktemp("views")
    flags = {
        **QUIET,
        "max_epochs": 2,
        "val_check_interval": 2,
        "enable_checkpointing": True,
        "default_root_dir": folder,
    }
    trainer, module = Trainer(**flags, callbacks=[EarlyStopping("v", patience=10)]), Asks()
    module.found["before"] = {name: shown(trainer, name) for name in (*FIXED, *MOMENTS["before"])}
    trainer.fit(module, LOADERS["train"], LOADERS["val"])
    module.look("after")
    trainer.test(module, LOADERS["test"], verbose=False)
    module.look("after test")
    trainer.predict(module, LOADERS["predict"])
    module.look("after predict")
    return trainer, module


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_changes_in_a_run(run: tuple[Trainer, Asks], moment: str) -> None:
    found = run[1].found[moment]
    assert {name: found[name] for name in MOMENTS["before"]} == expected_at(moment)


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_stays_the_same(run: tuple[Trainer, Asks], moment: str) -> None:
    found = run[1].found[moment]
    assert {name: found[name] for name in FIXED} == FIXED


def test_parts(run: tuple[Trainer, Asks]) -> None:
    trainer, _ = run
    assert {name: type(getattr(trainer, name)) for name in PARTS} == PARTS
    assert trainer.checkpoint_callbacks == [trainer.checkpoint_callback]
    assert trainer.early_stopping_callbacks == [trainer.early_stopping_callback]
    assert trainer.callbacks == [trainer.early_stopping_callback, trainer.checkpoint_callback]


def test_folders(run: tuple[Trainer, Asks]) -> None:
    trainer, _ = run
    assert isinstance(trainer.default_root_dir, str)
    assert trainer.log_dir == trainer.default_root_dir
    assert Path(trainer.checkpoint_callback.best_model_path).parent == Path(trainer.default_root_dir, "checkpoints")


def test_nothing_of_the_interface_is_left_out() -> None:
    """The names are those of the reference's Trainer; its own are views of them or loops."""
    names = {name for name in dir(Trainer) if isinstance(inspect.getattr_static(Trainer, name), property)}
    public = {name for name in names if not name.startswith("_")}
    seen = {*FIXED, *PARTS, *MOMENTS["before"], "callbacks", "checkpoint_callbacks", "early_stopping_callbacks",
            "default_root_dir", "log_dir"}  # fmt: skip
    assert public - seen == {"profiler", "should_log", "min_epochs"}


STAGES = ["training", "validating", "testing", "predicting", "sanity_checking"]


@pytest.mark.parametrize("stage", STAGES)
def test_stages_can_be_set(stage: str) -> None:
    trainer = Trainer(**QUIET)
    setattr(trainer, stage, True)
    assert [name for name in STAGES if getattr(trainer, name)] == [stage]
    assert trainer.evaluating == (stage in ("validating", "testing", "sanity_checking"))
    setattr(trainer, stage, False)
    assert not any(getattr(trainer, name) for name in STAGES)
    assert trainer.state.stage is None


def test_loggers_can_be_set() -> None:
    first, second = CSVLogger("a"), CSVLogger("b")
    trainer = Trainer(**{**QUIET, "logger": [first, second]})
    assert (trainer.logger, trainer.loggers) == (first, [first, second])
    assert trainer.log_dir == first.log_dir
    trainer.logger = second
    assert trainer.metrics.loggers == trainer.loggers == [second]
    trainer.logger = None
    assert (trainer.logger, trainer.loggers) == (None, [])
    trainer.loggers = [first]
    assert trainer.logger is first


def test_the_steps_that_are_logged_can_be_changed() -> None:
    trainer = Trainer(**QUIET)
    trainer.log_every_n_steps = 1
    assert trainer.metrics.log_every_n_steps == 1
    assert trainer.should_log


def test_optimizers_can_be_set() -> None:
    trainer = Trainer(**QUIET)
    optimizer = SGD(Net().parameters(), 0.1)
    trainer.optimizers = [optimizer]
    assert trainer.optimizers == trainer.strategy.optimizers == [optimizer]


def test_the_bar_is_found() -> None:
    bar = TQDMProgressBar()
    assert Trainer(**{**QUIET, "enable_progress_bar": True}, callbacks=[bar]).progress_bar_callback is bar


def test_the_scaler_of_16_bits() -> None:
    from fulmen.precision.amp import MixedPrecision

    scaler = torch.amp.GradScaler("cpu")
    assert Trainer(**QUIET, plugins=MixedPrecision("16-mixed", "cpu", scaler)).scaler is scaler
