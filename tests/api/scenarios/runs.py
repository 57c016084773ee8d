"""Runs of a Trainer."""

from __future__ import annotations

import io
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import schedule
from torch.utils.data import DataLoader

import fulmen as pl
from fulmen import callbacks as cb
from fulmen.callbacks.progress import rich_progress, tqdm_progress
from fulmen.demos.boring_classes import BoringDataModule, BoringModel, ManualOptimBoringModel
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler
from fulmen.profilers.pytorch import RegisterRecordFunction, ScheduleWrapper
from fulmen.serve import ServableModule, ServableModuleValidator

SMALL: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "limit_train_batches": 2,
    "limit_val_batches": 2,
    "limit_test_batches": 2,
    "limit_predict_batches": 2,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


class Model(BoringModel):
    """Logs, and lets the default of every hook run."""

    example_input_array = torch.zeros(2, 32)

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = self.step(batch)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.log_dict({"val": self.step(batch), "other": 1.0})

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        super().configure_gradient_clipping(*args, **kwargs)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)

    def optimizer_zero_grad(self, *args: Any) -> None:
        super().optimizer_zero_grad(*args)

    def backward(self, *args: Any) -> None:
        super().backward(*args)

    def lr_scheduler_step(self, *args: Any) -> None:
        super().lr_scheduler_step(*args)


class Asking(cb.Callback):
    """Reads all that a Trainer and its parts show, in each stage."""

    def look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Reads every property."""
        for name in dir(type(trainer)):
            if isinstance(getattr(type(trainer), name), property) and not name.startswith("_"):
                getattr(trainer, name)
        for name in ("current_epoch", "device_mesh", "fabric", "global_rank", "global_step", "local_rank", "logger"):
            getattr(module, name)
        assert module.loggers == trainer.loggers and module.trainer is trainer and not module.on_gpu
        assert module.device.type == "cpu" and module.dtype == torch.float32
        assert not trainer.state.finished and not trainer.state.stopped

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.look(trainer, pl_module)
        pl_module.lr_schedulers()
        pl_module.print("seen")
        trainer.print("seen")
        with trainer.init_module():
            torch.nn.Linear(1, 1)

    on_validation_end = on_test_end = on_predict_end = look


def fit_with_callbacks(folder: Path) -> None:
    """Everything at once: two loggers, and each callback that a run has use for."""
    pl.seed_everything(1, workers=True, verbose=True)
    bar = tqdm_progress.TQDMProgressBar(refresh_rate=1)
    timer = cb.Timer(duration="00:01:00:00", interval="step")
    timer_of_epochs = cb.Timer(duration={"hours": 1}, interval="epoch")
    timer_of_epochs._generate_state_key()
    scheduler = cb.GradientAccumulationScheduler({0: 2})
    checkpoint = cb.ModelCheckpoint(monitor="val", save_top_k=2, every_n_epochs=1, save_last=True, filename="{epoch}")
    early = cb.EarlyStopping("val", mode="min", patience=3)
    by_loss = cb.EarlyStopping("loss", check_on_train_epoch_end=True)
    steps = cb.ModelCheckpoint(every_n_train_steps=1, filename="{step}", dirpath=folder / "steps")
    trainer = pl.Trainer(
        **{
            **SMALL,
            "max_epochs": 2,
            "enable_progress_bar": True,
            "enable_checkpointing": True,
            "enable_model_summary": True,
            "logger": [CSVLogger(folder), TensorBoardLogger(folder, log_graph=True)],
        },
        default_root_dir=folder,
        gradient_clip_val=1.0,
        callbacks=[
            *(Asking(), bar, timer, scheduler, checkpoint, early, by_loss, steps),
            cb.LearningRateMonitor(log_momentum=True),
            cb.LambdaCallback(on_train_start=lambda *args: None),
        ],
    )
    model = Model()
    assert trainer.state.finished is False
    trainer.fit(model, datamodule=BoringDataModule())
    assert trainer.state.finished and timer.time_elapsed("train") > 0 and timer.time_remaining() is not None
    assert timer.start_time("train") is not None and timer.end_time("validate") is not None
    assert checkpoint.every_n_epochs == 1 and checkpoint.check_monitor_top_k(trainer, torch.tensor(0.0))
    assert checkpoint.file_exists(checkpoint.best_model_path, trainer)
    checkpoint.format_checkpoint_name({"epoch": torch.tensor(1)})
    checkpoint.to_yaml(folder / "best.yaml")
    assert early.monitor_op is torch.lt and scheduler.going_to_accumulate_grad_batches()
    assert trainer.estimated_stepping_batches > 0
    pl.Trainer(**SMALL, callbacks=[timer_of_epochs]).fit(Model(), datamodule=BoringDataModule())


def resume_and_evaluate(folder: Path) -> None:
    """A run goes on from its checkpoint, and is validated, tested and predicted with."""
    timer, bar = cb.Timer(), tqdm_progress.TQDMProgressBar()
    for epochs in (1, 2):
        trainer = pl.Trainer(
            **{**SMALL, "max_epochs": epochs, "enable_checkpointing": True, "enable_progress_bar": True},
            default_root_dir=folder,
            callbacks=[Asking(), timer, bar, cb.EarlyStopping("val"), cb.ModelCheckpoint(folder, save_last=True)],
        )
        trainer.fit(Model(), datamodule=BoringDataModule(), ckpt_path=None if epochs == 1 else "last")
    trainer.validate(datamodule=BoringDataModule(), verbose=False)
    trainer.test(Model(), datamodule=BoringDataModule(), verbose=False)
    assert len(trainer.predict(datamodule=BoringDataModule()) or ()) == 2
    trainer.save_checkpoint(folder / "more.ckpt")
    Model.load_from_checkpoint(folder / "more.ckpt")
    bar.disable()
    bar.enable()
    assert bar.is_enabled and not bar.is_disabled and bar.refresh_rate == 1 and bar.process_position == 0
    bar.has_dataloader_changed(0)
    bar.reset_dataloader_idx_tracker()
    for name in ("sanity", "train", "validation", "test", "predict"):
        getattr(bar, f"init_{name}_tqdm")().close()
    names = "total_train_batches total_val_batches total_val_batches_current_dataloader trainer"
    for name in f"{names} total_test_batches_current_dataloader total_predict_batches_current_dataloader".split():
        getattr(bar, name)
    for name in ("train", "val", "test", "predict"):
        with suppress(TypeError):
            getattr(bar, f"{name}_progress_bar")
    tqdm_progress.convert_inf(3.0)
    tqdm_progress.Tqdm.format_num(0.5)
    bar.get_metrics(trainer, trainer.lightning_module)


class Everywhere(rich_progress.RichProgressBar):
    """Uses the bars while they are there."""

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        assert self.train_progress_bar is not None
        self.print("between")
        self.refresh()
        self.progress.soft_refresh()


def rich_output(folder: Path) -> None:
    """The bar and the table that rich draws."""
    with redirect_stdout(io.StringIO()):
        trainer = pl.Trainer(
            **{**SMALL, "enable_progress_bar": True, "enable_model_summary": True},
            callbacks=[Everywhere(refresh_rate=1), cb.RichModelSummary()],
        )
        trainer.fit(Model(), datamodule=BoringDataModule())
        trainer.validate(datamodule=BoringDataModule())
        from rich.console import Console

        theme = rich_progress.RichProgressBarTheme()
        metrics = rich_progress.MetricsTextColumn(trainer, theme.metrics, " ", ".3f")
        columns = (
            rich_progress.CustomBarColumn(),
            rich_progress.BatchesProcessedColumn(theme.batch_progress),
            rich_progress.CustomTimeColumn(theme.time),
            rich_progress.ProcessingSpeedColumn(theme.processing_speed),
            metrics,
        )
        console = Console(file=io.StringIO(), force_terminal=True)
        shown = rich_progress.CustomProgress(*columns, console=console, auto_refresh=False)
        shown.start()
        number = shown.add_task("one", total=2, metrics=True)
        task = next(task for task in shown.tasks if task.id == number)
        metrics.update({"loss": 0.5})
        for column in columns:
            column.render(task)
        shown.soft_refresh()
        shown.stop()


class TwoByHand(ManualOptimBoringModel):
    """Manual optimization with all that it offers."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        with self.toggled_optimizer(optimizer), optimizer.toggle_model():
            loss = self.step(batch)
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, 0.5, "norm")
        optimizer.step()
        assert optimizer.optimizer is not optimizer
        self.untoggle_optimizer(optimizer)
        self.lr_schedulers().step()


def manual_optimization(folder: Path) -> None:
    """A module that steps by itself."""
    pl.Trainer(**SMALL).fit(TwoByHand())


def profiled(folder: Path) -> None:
    """The same run under each profiler."""
    for profiler in (
        SimpleProfiler(dirpath=folder, filename="simple"),
        AdvancedProfiler(dirpath=folder, filename="advanced"),
        PyTorchProfiler(dirpath=folder, filename="pytorch", export_to_chrome=False),
        PassThroughProfiler(),
    ):
        pl.Trainer(**SMALL, profiler=profiler).fit(Model(), datamodule=BoringDataModule())
        with profiler.profile("more"):
            pass
        profiler.summary()
        profiler.describe()
        profiler.local_rank  # noqa: B018
        profiler.teardown(None)
    with RegisterRecordFunction(Model()):
        pass
    wrapper = ScheduleWrapper(schedule(wait=0, warmup=1, active=1))
    wrapper.setup("on_fit_start")
    wrapper.pre_step("training_step")
    wrapper(0)
    for name in ("num_step", "is_training", "is_validating", "is_testing", "is_predicting", "has_finished"):
        getattr(wrapper, name)
    wrapper.reset()


class Served(ServableModule, BoringModel):
    """Answers with zeros."""

    def configure_payload(self) -> dict[str, Any]:
        return {"body": {"x": [0.0] * 32}}

    def configure_serialization(self) -> Any:
        return {"x": torch.tensor}, {"output": Tensor.tolist}

    def serve_step(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"output": self(x) * 0}

    def configure_response(self) -> dict[str, Any]:
        return {"output": [0.0, 0.0]}


def served(folder: Path) -> None:
    """A server is asked before training."""
    validator = ServableModuleValidator(port=0)
    pl.Trainer(**SMALL, callbacks=[validator]).fit(Served())
    assert validator.successful and validator.state_dict()["successful"]


def interrupted_by_an_error(folder: Path) -> None:
    """What ends with an exception saves, and its bar goes."""

    class Failing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise ValueError("on purpose")
            return super().training_step(batch, batch_idx)

    checkpoint = cb.ModelCheckpoint(folder, save_on_exception=True)
    with suppress(ValueError):
        pl.Trainer(
            **{**SMALL, "enable_checkpointing": True, "enable_progress_bar": True},
            callbacks=[checkpoint, tqdm_progress.TQDMProgressBar()],
        ).fit(Failing(), DataLoader(torch.zeros(4, 32)))
    assert list(folder.glob("*.ckpt"))
