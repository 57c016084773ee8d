"""The methods and attributes of 1.x's Trainer are there, and what a user sets under such a name is the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.compat.v1.test_flags import BARE, Net, data

import fulmen
from fulmen import Callback, LightningDataModule, Trainer
from fulmen.callbacks import ModelSummary
from fulmen.compat import v1
from fulmen.utilities.exceptions import MisconfigurationException

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")


class Full(Net):
    """With every step, a scheduler and loaders of its own."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.layer(batch[0]).mean(), prog_bar=True)

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Loading(Full):
    """With loaders of its own."""

    def train_dataloader(self) -> Any:
        return data()

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


@pytest.fixture
def trainer() -> Trainer:
    v1.speak()
    trainer = Trainer(**BARE, max_epochs=1)
    trainer.fit(Full(), data(), data())
    return trainer


def test_what_it_runs_on(trainer: Trainer) -> None:
    shown = {name: getattr(trainer, name) for name in (
        "gpus", "num_gpus", "root_gpu", "on_gpu", "data_parallel_device_ids", "devices", "num_processes", "tpu_cores",
        "ipus", "data_parallel", "amp_backend", "use_amp", "should_rank_save_checkpoint", "slurm_job_id",
    )}  # fmt: skip
    assert shown == {
        "gpus": None, "num_gpus": 0, "root_gpu": None, "on_gpu": False, "data_parallel_device_ids": None, "devices": 1,
        "num_processes": 1, "tpu_cores": None, "ipus": 0, "data_parallel": False, "amp_backend": None,
        "use_amp": False, "should_rank_save_checkpoint": True, "slurm_job_id": None,
    }  # fmt: skip
    assert trainer.training_type_plugin is trainer.strategy
    assert trainer.accelerator_backend is trainer.accelerator
    assert trainer.accelerator_connector.num_gpus == 0
    assert Trainer(**{**BARE, "precision": "bf16-mixed"}).amp_backend == "native"


def test_the_job_of_the_cluster(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert trainer.slurm_job_id == 17


def test_optimizers_and_schedulers(trainer: Trainer) -> None:
    (shown,) = trainer.lr_schedulers
    assert shown["scheduler"] is trainer.lr_scheduler_configs[0].scheduler
    assert (shown["interval"], shown["frequency"], shown["reduce_on_plateau"]) == ("epoch", 1, False)
    trainer.lr_schedulers = [{**shown, "frequency": 3}]
    assert trainer.lr_scheduler_configs[0].frequency == 3
    assert trainer.lightning_optimizers[0].optimizer is trainer.optimizers[0]
    assert trainer.optimizer_frequencies == []
    trainer.optimizer_frequencies = [2, 1]
    assert trainer.optimizer_frequencies == [2, 1]


def test_what_runs(trainer: Trainer) -> None:
    assert trainer.train_loop is trainer.fit_loop
    assert trainer.evaluation_loop is trainer.validate_loop
    assert trainer.get_model() is trainer.lightning_module
    assert not trainer.disable_validation
    assert not trainer.running_sanity_check
    assert not trainer.tuning
    assert trainer.verbose_evaluate
    assert trainer.progress_bar_dict == trainer.progress_bar_metrics != {}
    assert trainer.prediction_writer_callbacks == []
    trainer.current_epoch, trainer.global_step = 5, 7
    assert (trainer.progress.epoch, trainer.progress.steps) == (5, 7)
    trainer.determine_data_use_amount(2)
    assert (trainer.overfit_batches, trainer.limit_train_batches, trainer.limit_val_batches) == (2, 2, 2)


def test_what_it_was_told(trainer: Trainer) -> None:
    assert trainer.weights_save_path == trainer.default_root_dir
    assert trainer.resume_from_checkpoint is None
    assert trainer.weights_summary is None
    trainer.weights_summary = "full"
    assert trainer.weights_summary == "full"
    trainer.weights_summary = "top"
    assert [type(callback) for callback in trainer.callbacks] == [ModelSummary]
    assert not trainer.terminate_on_nan
    trainer.terminate_on_nan = True
    trainer.lightning_module.factor, trainer.fit_loop.max_epochs = float("nan"), 2
    with pytest.raises(ValueError, match="detect_anomaly"):
        trainer.fit(trainer.lightning_module, data(), data())


def test_old_names_of_loaders(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = Full()
    trainer.fit(model, train_dataloader=data(), val_dataloaders=data())
    assert len(model.seen) == 0, "one epoch was run before"
    trainer.fit_loop.max_epochs = 2
    trainer.fit(model, train_dataloader=data(), val_dataloaders=data())
    assert len(model.seen) == 3
    assert trainer.validate(model, val_dataloaders=data(), verbose=False)[0].keys() == {"loss"}
    assert trainer.test(model, test_dataloaders=data(), verbose=False)[0].keys() == {"loss"}
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    other = Trainer(**BARE, max_epochs=3)
    other.fit(model, None, data(), None, data(), tmp_path / "one.ckpt")  # 1.5 has the older name before the checkpoint
    assert other.global_step == 9


def test_todays_calls_are_what_they_were(trainer: Trainer, tmp_path: Path) -> None:
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    other = Trainer(**BARE, max_epochs=2)
    other.fit(Full(), data(), data(), None, tmp_path / "one.ckpt", True)
    assert other.global_step == 6
    assert len(other.predict(Full(), data())) == 3
    assert other.test(Full(), data(), str(tmp_path / "one.ckpt"), False)[0].keys() == {"loss"}


@pytest.mark.parametrize("kind", ["train", "val", "test", "predict"])
def test_loaders_are_asked_for_anew(kind: str) -> None:
    v1.speak()
    trainer, model = Trainer(**BARE), Loading()
    with pytest.raises(MisconfigurationException, match=r"reset_train_dataloader\(model\)"):
        getattr(trainer, f"reset_{kind}_dataloader")()
    getattr(trainer, f"reset_{kind}_dataloader")(model)
    counts = {"train": "num_training_batches"}.get(kind, f"num_{kind}_batches")
    assert getattr(trainer, counts) in (3, [3])
    trainer.reset_train_val_dataloaders(model)


def test_running_again(trainer: Trainer) -> None:
    trainer.validate(trainer.lightning_module, data(), verbose=False)
    first = trainer.callback_metrics["loss"]
    trainer.lightning_module.layer.bias.data += 1
    trainer.run_stage()
    assert trainer.callback_metrics["loss"] == pytest.approx(first + 1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module, data(), data())
    trainer.fit_loop.max_epochs = 3
    trainer.run_stage()
    assert trainer.global_step == 9
    with pytest.raises(MisconfigurationException, match=r"trainer\.fit\(model\)"):
        Trainer(**BARE).run_stage()


def test_calling_a_hook() -> None:
    class Note(Callback):
        heard: list[Any] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.heard.append(pl_module)

    class Answer(Full):
        def on_train_start(self) -> Any:
            return "done"

    v1.speak()
    model = Answer()
    trainer = Trainer(**BARE, callbacks=Note())
    assert trainer.call_hook("on_train_start", pl_module=model) == "done"
    assert Note.heard == [model]


class Rated(Loading):
    """With a rate and a batch size to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.lr, self.rate, self.batch_size = 1e-3, 1e-3, 1

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(data(8).dataset, batch_size=self.batch_size)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def test_tuning() -> None:
    model = Rated()
    trainer = Trainer(**BARE, auto_lr_find=True, auto_scale_batch_size="power", max_epochs=1)
    assert (trainer.auto_lr_find, trainer.auto_scale_batch_size) == (True, "power")
    sweep = {"num_training": 20, "early_stop_threshold": None}
    found = trainer.tune(model, scale_batch_size_kwargs={"max_trials": 2, "init_val": 2}, lr_find_kwargs=sweep)
    assert found.keys() == {"scale_batch_size", "lr_find"}
    assert model.batch_size == found["scale_batch_size"] > 1
    assert model.lr == found["lr_find"].suggestion() != 1e-3
    assert not trainer.tuning
    model = Rated()
    Trainer(**BARE, auto_lr_find="rate").tune(model, lr_find_kwargs=sweep)
    assert model.lr == 1e-3 != model.rate
    assert Trainer(**BARE).tune(model) == {}


def test_the_tuner_sets_nothing_unless_asked_to() -> None:
    model = Rated()
    trainer = Trainer(**BARE)
    assert trainer.tuner.lr_find(model, num_training=20, early_stop_threshold=None).suggestion() != 1e-3
    assert model.lr == 1e-3
    assert trainer.lr_find(model, num_training=20, early_stop_threshold=None, update_attr=True).suggestion() == model.lr
    assert trainer.scale_batch_size(model, max_trials=1) == model.batch_size


def test_a_name_that_the_user_sets_is_the_users() -> None:
    class Own(Trainer):
        def __init__(self, **flags: Any) -> None:
            super().__init__(**flags)
            self.tuner, self.gpus, self.devices, self.get_model = 1, 2, 3, 4

    v1.speak()
    own = Own(**BARE)
    assert (own.tuner, own.gpus, own.devices, own.get_model) == (1, 2, 3, 4)


def test_a_data_module_of_modern_names_is_left_alone() -> None:
    v1.speak()
    assert callable(LightningDataModule.add_argparse_args)


SCRIPT = """
import sys
import fulmen.as_lightning
assert not any(name.startswith(("fulmen.core", "fulmen.trainer", "torch")) for name in sys.modules)
import pytorch_lightning as pl
assert pl.Trainer.tuning and pl.Trainer.lr_schedulers, "what 1.x had is there before any of it was used"
"""


def test_the_alias_speaks_from_the_start() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(fulmen.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_of_the_trainer_up_to_1_4() -> None:
    from tests.compat.v1.test_outputs import QUIET, Model, loader

    from fulmen.compat import v1

    seen: list[Any] = []

    class Old(Model):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer: Any = self.trainer
            seen.append((trainer.batch_idx, trainer.total_batch_idx, trainer.fitting, trainer.tested_ckpt_path))

    v1.speak()
    trainer: Any = Trainer(**{**QUIET, "max_epochs": 2}, reload_dataloaders_every_epoch=True)  # type: ignore[call-arg]
    trainer.fit(Old(), loader(2), loader(1))
    assert seen == [(0, 0, True, None), (1, 1, True, None), (0, 2, True, None), (1, 3, True, None)]
    assert trainer.reload_dataloaders_every_epoch
    assert (trainer.on_tpu, trainer.distributed_backend, trainer.is_slurm_managing_tasks) == (False, None, False)
    assert (trainer.flush_logs_every_n_steps, trainer.truncated_bptt_steps) == (None, None)
    for name in ("logger_connector", "data_connector", "checkpoint_connector"):
        assert getattr(trainer, name) is not None


class Inside(Callback):
    """Reads names of 1.x in the midst of a run."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        fit, bar = trainer.fit_loop, trainer.progress_bar_callback
        batches = fit.epoch_loop.batch_loop
        counted = batches.optimizer_loop.optim_progress is batches.manual_loop.optim_progress
        self.seen.append((fit.should_accumulate(), fit.split_idx, batches.split_idx, counted, bar.train_batch_idx))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.bar = trainer.progress_bar_callback.val_batch_idx


def test_names_inside_of_loops_and_bars() -> None:
    v1.speak()
    inside = Inside()
    flags = {**BARE, "callbacks": [inside, fulmen.callbacks.ProgressBar()], "enable_progress_bar": True}
    trainer = Trainer(**flags, max_epochs=1, accumulate_grad_batches=2, num_sanity_val_steps=0)
    loader = data()
    trainer.fit(Full(), loader, loader)
    assert inside.seen == [(True, 0, 0, True, 0), (False, 0, 0, True, 1), (False, 0, 0, True, 2)]
    assert inside.bar == 3
    trainer.validate(Full(), loader, verbose=False)
    assert inside.bar == 3
    assert trainer.evaluation_loop.dataloaders == [loader]
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop):
        assert not hasattr(loop, "running_loss")
        with pytest.raises(MisconfigurationException, match=r"read `trainer\.callback_metrics`"):
            _ = loop.running_loss
    assert trainer.progress_bar_callback.test_batch_idx == trainer.progress_bar_callback.predict_batch_idx == 0


def test_what_else_it_was_told(trainer: Trainer) -> None:
    told = {name: getattr(trainer, name) for name in (
        "early_stop_callback", "benchmark", "deterministic", "move_metrics_to_cpu", "multiple_trainloader_mode",
        "prepare_data_per_node", "process_position", "validated_ckpt_path",
    )}  # fmt: skip
    assert told == {
        "early_stop_callback": None, "benchmark": torch.backends.cudnn.benchmark, "deterministic": False,
        "move_metrics_to_cpu": False, "multiple_trainloader_mode": "max_size_cycle", "prepare_data_per_node": True,
        "process_position": 0, "validated_ckpt_path": None,
    }  # fmt: skip
    assert trainer.accumulation_scheduler.scheduling == {0: 1}
    assert Trainer(**BARE, accumulate_grad_batches={2: 3}).accumulation_scheduler.scheduling == {0: 1, 2: 3}
    assert trainer.is_function_implemented("training_step")
    assert not trainer.is_function_implemented("of_nobody", trainer.lightning_module)
    assert trainer.has_arg("training_step", "batch_idx")
    assert not trainer.has_arg("training_step", "hiddens")
    other = Trainer(**BARE, move_metrics_to_cpu=True, multiple_trainloader_mode="min_size")
    assert (other.move_metrics_to_cpu, other.multiple_trainloader_mode) == (True, "min_size")


def test_the_run_of_a_module(trainer: Trainer) -> None:
    model = Full()
    assert not hasattr(model, "datamodule")
    assert not model.use_amp
    model.trainer = trainer
    assert not hasattr(model, "datamodule"), "there is none"
    trainer.datamodule = LightningDataModule()
    assert model.datamodule is trainer.datamodule
    assert not model.use_amp
    model.datamodule = "mine"
    assert model.datamodule == "mine"
