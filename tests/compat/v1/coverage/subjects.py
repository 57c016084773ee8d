"""What the members of each class of the list are tried on, and what calls and arguments are tried with."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from queue import Queue
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from fulmen import LightningDataModule, LightningModule, Trainer
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.loggers import CSVLogger

from . import listing

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "limit_train_batches": 2, "max_epochs": 1,
}  # fmt: skip


class Model(LightningModule):
    """With every step, loaders, a rate and a batch size."""

    def __init__(self, lr: float = 0.1, batch_size: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)
        self.example_input_array = torch.ones(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch).mean())

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(64, 2), batch_size=self.hparams.batch_size)

    def val_dataloader(self) -> Any:
        return DataLoader(torch.ones(4, 2), batch_size=2)

    test_dataloader = predict_dataloader = val_dataloader


def trained() -> Trainer:
    """A Trainer that has run."""
    trainer = Trainer(**{**QUIET, "logger": True, "callbacks": [EarlyStopping("val_loss", strict=False)]})
    trainer.fit(Model())
    return trainer


def _logger_base() -> Any:
    base = listing.kind("LightningLoggerBase")

    class Own(base):  # type: ignore[misc]
        """The smallest logger."""

        name, version = "mine", 0

        @property
        def experiment(self) -> Any:
            return None

        def log_metrics(self, metrics: Any, step: Any = None) -> None: ...

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    return Own


def _of(kind: str, **given: Any) -> Callable[[], Any]:
    return lambda: listing.kind(kind)(**given)


SUBJECTS: dict[str, Callable[[], Any]] = {
    "Trainer": trained,
    "LightningModule": lambda: trained().lightning_module,
    "LightningDataModule": LightningDataModule,
    "ModelCheckpoint": lambda: trained().checkpoint_callback,
    "EarlyStopping": lambda: trained().early_stopping_callback,
    "Callback": lambda: listing.kind("Callback")(),
    "CSVLogger": lambda: CSVLogger("logs"),
    "TensorBoardLogger": _of("TensorBoardLogger", save_dir="logs"),
    "MLFlowLogger": _of("MLFlowLogger", save_dir="runs"),
    "WandbLogger": _of("WandbLogger", offline=True, save_dir="logs"),
    "LightningLoggerBase": lambda: _logger_base()(),
}
"""How to get what the members of a class are tried on."""


def subject(owner: str) -> Any:
    """What the members of a class are tried on, made anew."""
    return SUBJECTS[owner]()


ARGUMENTS: dict[str, dict[str, Any]] = {
    "Trainer": {
        "logger": True, "checkpoint_callback": False, "enable_checkpointing": False, "callbacks": [],
        "default_root_dir": ".", "gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm", "process_position": 1,
        "num_nodes": 1, "num_processes": 1, "devices": 1, "gpus": 0, "auto_select_gpus": True, "tpu_cores": 8,
        "ipus": 4, "log_gpu_memory": "all", "progress_bar_refresh_rate": 0, "enable_progress_bar": False,
        "overfit_batches": 1, "track_grad_norm": 2, "check_val_every_n_epoch": 1, "fast_dev_run": True,
        "accumulate_grad_batches": {0: 2}, "max_epochs": 1, "min_epochs": 1, "max_steps": None, "min_steps": 1,
        "max_time": "00:01:00:00", "limit_train_batches": 0.5, "limit_val_batches": 1, "limit_test_batches": 1,
        "limit_predict_batches": 1, "val_check_interval": 0.5, "flush_logs_every_n_steps": 1, "log_every_n_steps": 1,
        "accelerator": "dp", "strategy": "ddp_sharded", "sync_batchnorm": True, "precision": 64,
        "enable_model_summary": False, "weights_summary": "full", "weights_save_path": "weights",
        "num_sanity_val_steps": 0, "resume_from_checkpoint": None, "profiler": True, "benchmark": False,
        "deterministic": None, "reload_dataloaders_every_n_epochs": 1, "reload_dataloaders_every_epoch": True,
        "auto_lr_find": True, "replace_sampler_ddp": False, "detect_anomaly": True, "auto_scale_batch_size": "power",
        "prepare_data_per_node": True, "plugins": "horovod", "amp_backend": "native", "amp_level": "O2",
        "move_metrics_to_cpu": True, "multiple_trainloader_mode": "min_size", "stochastic_weight_avg": True,
        "terminate_on_nan": True, "inference_mode": False,
    },
    "LightningDataModule": {
        "train_transforms": str, "val_transforms": str, "test_transforms": str, "dims": (1, 2),
    },
    "ModelCheckpoint": {
        "dirpath": ".", "filename": "x", "monitor": "loss", "save_top_k": 2, "every_n_train_steps": 1,
        "every_n_epochs": 1, "every_n_val_epochs": 1, "save_on_train_epoch_end": True, "mode": "max",
    },
    "EarlyStopping": {"monitor": "val_loss", "stopping_threshold": 0.1, "divergence_threshold": 9.0},
    "LightningLoggerBase": {"agg_key_funcs": {"loss": max}, "agg_default_func": max},
    "TensorBoardLogger": {"save_dir": "logs"},
    "CSVLogger": {"save_dir": "logs", "flush_logs_every_n_steps": 1},
    "WandbLogger": {"offline": True, "save_dir": "logs", "anonymous": False, "experiment": None, "log_model": False},
    "MLFlowLogger": {"save_dir": "runs", "tracking_uri": None},
}  # fmt: skip
"""Values for the arguments of classes; where there is none, the default of the list is passed."""
REQUIRED: dict[str, dict[str, Any]] = {
    "Trainer": {"accelerator": "cpu", "logger": False},
    "EarlyStopping": {"monitor": "val_loss"},
    "TensorBoardLogger": {"save_dir": "logs"},
    "CSVLogger": {"save_dir": "logs"},
    "WandbLogger": {"offline": True, "save_dir": "logs"},
    "MLFlowLogger": {"save_dir": "runs"},
}
"""What these classes are made with beside the argument that is tried."""
FITS = ("track_grad_norm", "terminate_on_nan", "multiple_trainloader_mode", "weights_save_path", "weights_summary",
        "stochastic_weight_avg", "accumulate_grad_batches", "flush_logs_every_n_steps",
        "prepare_data_per_node")  # fmt: skip
"""Arguments of the Trainer that are tried in a run."""


def _parser() -> ArgumentParser:
    return ArgumentParser()


def _tune(trainer: Trainer) -> Any:
    trainer = Trainer(**QUIET, auto_scale_batch_size=True)
    return trainer.tune(Model(), scale_batch_size_kwargs={"max_trials": 1})


def _one(trainer: Any) -> Any:
    return trainer.optimizers[0]


CALLS: dict[str, Callable[[Any], Any]] = {
    "Trainer.fit": lambda t: Trainer(**QUIET).fit(Model(), train_dataloader=Model().train_dataloader()),
    "Trainer.validate": lambda t: t.validate(Model(), val_dataloaders=Model().val_dataloader(), verbose=False),
    "Trainer.test": lambda t: t.test(Model(), test_dataloaders=Model().val_dataloader(), verbose=False),
    "Trainer.predict": lambda t: t.predict(Model()),
    "Trainer.tune": _tune,
    "Trainer.call_hook": lambda t: t.call_hook("on_train_start", pl_module=t.lightning_module),
    "Trainer.determine_data_use_amount": lambda t: t.determine_data_use_amount(1),
    "Trainer.save_checkpoint": lambda t: t.save_checkpoint("file.ckpt"),
    "Trainer.from_argparse_args": lambda t: Trainer.from_argparse_args(Namespace(gpus=0), logger=False),
    "Trainer.parse_argparser": lambda t: Trainer.parse_argparser(Namespace(gpus=0)),
    "Trainer.add_argparse_args": lambda t: Trainer.add_argparse_args(_parser()),
    **{
        f"Trainer.reset_{stage}_dataloader": lambda t, stage=stage: getattr(t, f"reset_{stage}_dataloader")(Model())  # type: ignore[misc]
        for stage in ("train", "val", "test", "predict")
    },
    "LightningDataModule.add_argparse_args": lambda d: LightningDataModule.add_argparse_args(_parser()),
    "LightningDataModule.from_argparse_args": lambda d: LightningDataModule.from_argparse_args(Namespace()),
    "LightningDataModule.parse_argparser": lambda d: LightningDataModule.parse_argparser(Namespace()),
    "LightningDataModule.from_datasets": lambda d: LightningDataModule.from_datasets(torch.ones(2, 2)),
    "LightningDataModule.load_state_dict": lambda d: d.load_state_dict({}),
    "LightningDataModule.load_from_checkpoint": lambda d: _from_checkpoint(),
    "LightningModule.to_onnx": lambda m: _to_onnx(m),
    "LightningModule.to_torchscript": lambda m: m.to_torchscript(method="trace"),
    "LightningModule.add_to_queue": lambda m: m.add_to_queue(Queue()),
    "LightningModule.get_from_queue": lambda m: m.get_from_queue(_filled()),
    "LightningModule.from_compiled": lambda m: type(m).from_compiled(torch.compile(Model())),
    "LightningModule.to_uncompiled": lambda m: type(m).to_uncompiled(_compiled()),
    "LightningModule.toggle_optimizer": lambda m: m.toggle_optimizer(_one(m.trainer), 0),
    "LightningModule.untoggle_optimizer": lambda m: (m.toggle_optimizer(_one(m.trainer), 0), m.untoggle_optimizer(0)),
    "LightningModule.clip_gradients": lambda m: m.clip_gradients(_one(m.trainer), 1.0, "norm"),
    "LightningModule.configure_gradient_clipping": lambda m: m.configure_gradient_clipping(
        _one(m.trainer), 0, 1.0, "norm"
    ),
    "LightningModule.optimizer_zero_grad": lambda m: m.optimizer_zero_grad(0, 0, _one(m.trainer), 0),
    "LightningModule.optimizer_step": lambda m: m.optimizer_step(0, 0, m.optimizers(), 0, lambda: None),
    "LightningModule.backward": lambda m: m.backward(m(torch.ones(1, 2)).sum(), _one(m.trainer), 0),
    "LightningModule.manual_backward": lambda m: _manual(m),
    "LightningModule.lr_scheduler_step": lambda m: m.lr_scheduler_step(
        torch.optim.lr_scheduler.StepLR(_one(m.trainer), 1), 0, None
    ),
    "LightningModule.tbptt_split_batch": lambda m: m.tbptt_split_batch(torch.ones(2, 4, 1), 2),
    "LightningModule.log": lambda m: None,  # the steps of the model log
    "LightningModule.log_dict": lambda m: None,
    "LightningModule.log_grad_norm": lambda m: Trainer(**QUIET, track_grad_norm=2).fit(Model()),
    "LightningModule.all_gather": lambda m: m.all_gather(torch.ones(1)),
    "LightningModule.print": lambda m: m.print("said"),
    "LightningModule.forward": lambda m: m(torch.ones(1, 2)),
    "ModelCheckpoint.check_monitor_top_k": lambda c: c.check_monitor_top_k(trained(), torch.tensor(1.0)),
    "ModelCheckpoint.format_checkpoint_name": lambda c: c.format_checkpoint_name({"epoch": torch.tensor(1)}),
    "ModelCheckpoint.file_exists": lambda c: c.file_exists("nowhere", trained()),
    "ModelCheckpoint.to_yaml": lambda c: c.to_yaml("best.yaml"),
    "ModelCheckpoint.save_checkpoint": lambda c: _saved(c),
    "ModelCheckpoint.load_state_dict": lambda c: c.load_state_dict(c.state_dict()),
    "EarlyStopping.monitor_op": lambda c: c.monitor_op(torch.tensor(1.0), torch.tensor(2.0)),
    "EarlyStopping.load_state_dict": lambda c: c.load_state_dict(c.state_dict()),
    "Callback.load_state_dict": lambda c: c.load_state_dict({}),
    **{
        f"{logger}.{name}": call
        for logger in ("CSVLogger", "TensorBoardLogger", "LightningLoggerBase", "MLFlowLogger", "WandbLogger")
        for name, call in {
            "log_metrics": lambda one: one.log_metrics({"loss": 1.0}, 1),
            "log_hyperparams": lambda one: one.log_hyperparams({"lr": 0.1}),
            "log_graph": lambda one: one.log_graph(Model()),
            "finalize": lambda one: one.finalize("success"),
            "after_save_checkpoint": lambda one: one.after_save_checkpoint(ModelCheckpoint()),
            "agg_and_log_metrics": lambda one: one.agg_and_log_metrics({"loss": 1.0}, 1),
            "update_agg_funcs": lambda one: one.update_agg_funcs({"loss": max}),
            "log_text": lambda one: one.log_text("name", ["a"], [["text"]]),
            "log_table": lambda one: one.log_table("name", ["a"], [[1]]),
            "log_image": lambda one: one.log_image("name", [torch.zeros(3, 4, 4)]),
            "watch": lambda one: one.watch(Model()),
        }.items()
    },
    "LightningLoggerBase.log_text": lambda one: one.log_text("name", "text"),
}  # fmt: skip
"""Calls of methods that need arguments."""


def _filled() -> Any:
    queue: Any = Queue()
    queue.put({"loss": 1.0})
    return queue


def _to_onnx(module: Any) -> None:
    pytest.importorskip("onnxscript")
    module.to_onnx("model.onnx")


def _from_checkpoint() -> Any:
    trainer = Trainer(**QUIET)
    data = LightningDataModule.from_datasets(torch.ones(4, 2))
    trainer.fit(Model(), datamodule=data)
    trainer.save_checkpoint("data.ckpt")
    return LightningDataModule.load_from_checkpoint("data.ckpt")


def _compiled() -> Any:
    return torch.compile(Model())


def _manual(model: Any) -> Any:
    model.automatic_optimization = False
    return model.manual_backward(model(torch.ones(1, 2)).sum())


def _saved(callback: Any) -> None:
    trainer = trained()
    callback.save_checkpoint(trainer)
    assert os.path.exists(callback.best_model_path)


EXPORTS: dict[str, Callable[[Any], Any]] = {
    "BackboneFinetuning": lambda kind: kind(),
    "DeviceStatsMonitor": lambda kind: kind(),
    "EarlyStopping": lambda kind: kind("loss"),
    "GradientAccumulationScheduler": lambda kind: kind({0: 1}),
    "ModelPruning": lambda kind: kind("l1_unstructured"),
    "BasePredictionWriter": lambda kind: kind(),
    "StochasticWeightAveraging": lambda kind: kind(swa_lrs=0.1),
    "LightningLoggerBase": lambda kind: _logger_base()(),
    "Logger": lambda kind: kind,
    "LoggerCollection": lambda kind: kind([CSVLogger("logs")]),
    "TensorBoardLogger": lambda kind: kind("logs"),
    "CSVLogger": lambda kind: kind("logs"),
    "AbstractProfiler": lambda kind: kind,
    "CheckpointIO": lambda kind: kind,
    "LayerSync": lambda kind: kind,
    "NativeMixedPrecisionPlugin": lambda kind: kind(16, "cpu"),
    "MixedPrecisionPlugin": lambda kind: kind("16-mixed", "cpu"),
    "SingleDevicePlugin": lambda kind: kind(torch.device("cpu")),
    "TrainingTypePlugin": lambda kind: kind,
    "ParallelPlugin": lambda kind: kind(),
}
"""How to make an object of an exported class; where nothing is named, it is called with nothing."""
