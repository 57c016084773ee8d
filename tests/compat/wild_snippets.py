"""What published libraries do with the inside of Lightning: snippets, and what each finds.

`tests/compat/test_in_the_wild.py` runs them with Fulmen, `tests/parity/test_in_the_wild.py` with PyTorch Lightning.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

SNIPPETS: dict[str, tuple[Callable[[Any], Any], Any]] = {}


def finds(expected: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Notes a snippet with what it returns."""

    def note(snippet: Callable[[Any], Any]) -> Callable[[Any], Any]:
        SNIPPETS[snippet.__name__] = (snippet, expected)
        return snippet

    return note


def module(pl: Any, path: str) -> Any:
    return importlib.import_module(f"{pl.__name__}.{path}")


def loader(samples: int = 6, batch_size: int = 2) -> Any:
    return DataLoader(torch.arange(float(samples * 2)).view(samples, 2), batch_size=batch_size)


def net(pl: Any, **methods: Any) -> Any:
    class Net(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self(batch).pow(2).mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val", float(batch_idx))

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-4)

        def train_dataloader(self) -> Any:
            return loader()

        def val_dataloader(self) -> Any:
            return loader(4)

        def predict_dataloader(self) -> Any:
            return loader(4)

    for name, method in methods.items():
        setattr(Net, name, method)
    return Net()


def quiet(pl: Any, kind: Any = None, **flags: Any) -> Any:
    given = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **flags,
    }
    return (kind or pl.Trainer)(**given)


def fitted(pl: Any, **flags: Any) -> Any:
    trainer = quiet(pl, **flags)
    trainer.fit(net(pl))
    return trainer


# The Trainer


@finds(["accelerator", "strategy", "devices", "num_nodes", "precision", "logger", "callbacks", "fast_dev_run"])
def signature(pl: Any) -> Any:
    parameters = inspect.signature(pl.Trainer.__init__).parameters
    assert {"max_epochs", "gradient_clip_val", "plugins", "default_root_dir"} <= set(parameters)
    return list(parameters)[1:9]


@finds((3, 0, True))
def copied_before_it_ran(pl: Any) -> Any:
    trainer = quiet(pl, callbacks=[pl.callbacks.EarlyStopping("val")])
    copied = copy.deepcopy(trainer)
    copied.fit(net(pl))
    return copied.global_step, trainer.global_step, copied.fit_loop.trainer is copied


@finds((6, 3, 6, 3, True))
def copied_after_it_ran(pl: Any) -> Any:
    trainer = fitted(pl)
    trainer.fit_loop.epoch_progress.current.ready  # noqa: B018
    copied = copy.deepcopy(trainer)
    copied.fit_loop.max_epochs = 2
    copied.fit(copied.lightning_module)
    total = copied.fit_loop.epoch_loop.batch_progress.total.ready
    return (
        copied.global_step,
        trainer.global_step,
        total,
        trainer.fit_loop.epoch_loop.batch_progress.total.ready,
        (copied._checkpoint_connector.trainer is copied),
    )


@finds([(1, 3), (3, 9), (3, 9)])
def more_epochs(pl: Any) -> Any:
    trainer, found = fitted(pl), []
    for epochs in (1, 3, 3):
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(trainer.lightning_module)
        found.append((trainer.current_epoch, trainer.global_step))
    return found


PARTS = ("_fit_impl", "_validate_impl", "_predict_impl", "_run", "_run_stage", "_run_sanity_check", "_teardown")


@finds(
    [
        ["_fit_impl", "_run", "_run_stage", "_run_sanity_check", "_teardown", "ended"],
        ["_validate_impl", "_run", "_run_stage", "_teardown", "ended", [{"val": 0.5}]],
        ["_predict_impl", "_run", "_run_stage", "_teardown", "ended", 2],
        ["_fit_impl", "_run", "_run_stage", "_run_sanity_check", "_teardown", "RuntimeError"],
    ]
)
def parts_of_a_run(pl: Any) -> Any:
    heard: list[Any] = []

    def replaced(name: str) -> Any:
        def part(self: Any, *args: Any, **kwargs: Any) -> Any:
            heard.append(name)
            return getattr(pl.Trainer, name)(self, *args, **kwargs)

        return part

    def teardown(self: Any, stage: str) -> None:
        heard.append("ended")

    def fail(self: Any) -> None:
        raise RuntimeError

    trainer = quiet(pl, type("Own", (pl.Trainer,), {name: replaced(name) for name in PARTS}))
    model, found = net(pl, teardown=teardown), []
    trainer.fit(model)
    found.append(heard[:])
    heard.clear()
    results = trainer.validate(model, verbose=False)
    found.append([*heard, results])
    heard.clear()
    found.append([len(trainer.predict(model))])
    found[-1] = [*heard, *found[-1]]
    heard.clear()
    try:
        quiet(pl, type(trainer)).fit(net(pl, on_train_start=fail))
    except RuntimeError as error:
        found.append([*heard, type(error).__name__])
    return found


@finds((0.0, 2, ["x"]))
def a_part_that_changes_a_run(pl: Any) -> Any:
    class Own(pl.Trainer):  # type: ignore[misc]
        def _fit_impl(self, model: Any, *args: Any, **kwargs: Any) -> None:
            nn.init.zeros_(model.layer.weight)
            nn.init.zeros_(model.layer.bias)
            super()._fit_impl(model, loader(4), *args[1:], **kwargs)

        def _run_stage(self) -> Any:
            super()._run_stage()
            return ["x"]

        def _run(self, *args: Any, **kwargs: Any) -> Any:
            self.found = super()._run(*args, **kwargs)

    trainer = quiet(pl, Own)
    trainer.fit(net(pl))
    return float(trainer.callback_metrics["loss"]), trainer.global_step, trainer.found


@finds(["wrapped", 3, "_run"])
def a_wrapper_around_a_part(pl: Any) -> Any:
    heard: list[str] = []
    original = pl.Trainer._run

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        heard.append("wrapped")
        return original(self, *args, **kwargs)

    pl.Trainer._run = wrapped
    try:
        trainer = fitted(pl)
    finally:
        pl.Trainer._run = original
    return [*heard, trainer.global_step, original.__name__]


@finds([("fit", 1, ["model"]), ("fit", 1, ["model"]), 3])
def a_trackers_patch(pl: Any) -> Any:
    calls: list[Any] = []
    original = pl.Trainer.fit

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append((original.__name__, len(inspect.signature(original).parameters) - 6, sorted(kwargs)))
        return original(self, *args, **kwargs)

    pl.Trainer.fit = patched
    try:
        trainer = quiet(pl, type("Own", (pl.Trainer,), {}))
        trainer.fit(model=net(pl))
        quiet(pl).fit(model=net(pl))
    finally:
        pl.Trainer.fit = original
    return [*calls, trainer.global_step]


@finds((True, None, "own", 5))
def the_model(pl: Any) -> Any:
    trainer, model = quiet(pl), net(pl)
    before = getattr(trainer, "_model", None)
    trainer._model = "own"
    trainer.strategy.connect(model)
    trainer.strategy._lightning_module = model
    same, count = trainer.lightning_module is trainer.model is model, len(trainer.predict(model, loader(10)))
    return same, before, trainer._model, count


@finds((["epoch", "global_step", "state_dict"], True))
def connected_in_place_of_fit(pl: Any) -> Any:
    trainer, model = quiet(pl), net(pl)
    trainer.strategy.connect(model)
    trainer.save_checkpoint("model.ckpt", weights_only=True)
    checkpoint = torch.load("model.ckpt")
    weights = checkpoint["state_dict"]
    keys = sorted(set(checkpoint) & {"epoch", "global_step", "state_dict", "optimizer_states"})
    return keys, all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@finds((["model.ckpt"], 0.0, "model.ckpt"))
def checkpoints_of_ones_own(pl: Any) -> Any:
    trainer, model = fitted(pl), net(pl)
    trainer.save_checkpoint("model.ckpt")
    read, written = [], []

    def load(checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(os.path.basename(checkpoint_path))
        checkpoint = torch.load(checkpoint_path, weights_only=False)
        checkpoint["state_dict"] = {name: value * 0 for name, value in checkpoint["state_dict"].items()}
        return checkpoint

    other = quiet(pl)
    other.strategy.load_checkpoint = load
    other.strategy.save_checkpoint = lambda checkpoint, path, **options: written.append(path)
    other.predict(model, ckpt_path="model.ckpt")
    other.save_checkpoint("model.ckpt")
    return read, sum(float(value.abs().sum()) for value in model.parameters()), *written


# The loops


@finds(
    [
        ("epoch", 1, 0, 0, 0), ("batch", 1, 0, 0, 0, 1), ("batch over", 1, 1, 1, 0, 1), ("batch", 2, 1, 1, 1, 2),
        ("batch over", 2, 2, 2, 1, 2), ("epoch over", 1, 1, 1, 0), ("epoch", 2, 1, 1, 1), ("batch", 1, 0, 0, 0, 3),
        ("batch over", 1, 1, 1, 0, 3), ("batch", 2, 1, 1, 1, 4), ("batch over", 2, 2, 2, 1, 4),
        ("epoch over", 2, 2, 2, 1), ("end", 2, 2, 2, 2),
    ]
)  # fmt: skip
def counts(pl: Any) -> Any:
    found: list[Any] = []

    def numbers(of: Any) -> tuple[int, ...]:
        return of.ready, of.started, of.processed, of.completed

    class Watch(pl.Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            found.append(("epoch", *numbers(trainer.fit_loop.epoch_progress.current)))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            found.append(("epoch over", *numbers(trainer.fit_loop.epoch_progress.current)))

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            batches = trainer.fit_loop.epoch_loop.batch_progress
            found.append(("batch", *numbers(batches.current), batches.total.ready))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            batches = trainer.fit_loop.epoch_loop.batch_progress
            assert batches.is_last_batch == (batch_idx == 1)
            found.append(("batch over", *numbers(batches.current), batches.total.ready))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            found.append(("end", *numbers(trainer.fit_loop.epoch_progress.current)))

    fitted(pl, max_epochs=2, limit_train_batches=2, callbacks=[Watch()])
    return found


@finds([(6, 4), (12, 4), (6, 4), (6, 4), (12, 2)])
def counts_that_are_set(pl: Any) -> Any:
    found = []
    for names in (("processed",), ("completed",), ("ready", "started", "processed", "completed")):
        trainer = quiet(pl, max_epochs=4)
        for name in names:
            setattr(trainer.fit_loop.epoch_progress.current, name, 2)
        trainer.fit(net(pl))
        found.append((trainer.global_step, trainer.current_epoch))

    class Skip(pl.Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.fit_loop.epoch_progress.current.processed += 1

    trainer = fitted(pl, max_epochs=4, callbacks=[Skip()])
    found.append((trainer.global_step, trainer.current_epoch))
    trainer = fitted(pl, max_epochs=2)
    trainer.fit_loop.epoch_progress.reset()
    trainer.fit(trainer.lightning_module)
    return [*found, (trainer.global_step, trainer.current_epoch)]


@finds(([1, 1, 1], 0, 6, 5, 3))
def steps_that_are_counted_otherwise(pl: Any) -> Any:
    seen = []

    def step(change: Callable[[Any], None]) -> Any:
        def training_step(self: Any, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self(batch).mean())
            self.optimizers().step()
            seen.append(self.trainer.global_step)
            change(self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress)

        return training_step

    def once_less(progress: Any) -> None:
        progress.total.completed -= 1

    def once_more(progress: Any) -> None:
        progress.increment_ready()
        progress.increment_completed()

    steps = []
    for change in (once_less, once_more):
        model, trainer = net(pl, training_step=step(change)), quiet(pl)
        model.automatic_optimization = False
        trainer.fit(model)
        steps.append(trainer.global_step)
    trainer = fitted(pl)
    done = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer_steps
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 5
    return seen[:3], *steps, trainer.global_step, done


@finds(([2, 3, 4], 4, 9))
def loaders_made_anew(pl: Any) -> Any:
    seen: list[int] = []
    made: list[int] = []

    def train_dataloader(self: Any) -> Any:
        made.append(1)
        return loader(2 * len(made) + 2)

    class Reload(pl.Callback):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.num_training_batches)
            trainer.fit_loop._combined_loader = None
            trainer.fit_loop.setup_data()

    trainer = quiet(pl, max_epochs=3, limit_val_batches=0, callbacks=[Reload()])
    trainer.fit(net(pl, train_dataloader=train_dataloader))
    return seen, len(made), trainer.global_step


@finds((None, "val_dataloader", True, True, True, False, "CombinedLoader", 1, True))
def where_loaders_come_from(pl: Any) -> Any:
    before = quiet(pl).fit_loop.epoch_loop.val_loop._data_source
    trainer = fitted(pl)
    loop = trainer.fit_loop.epoch_loop.val_loop
    source, first = loop._data_source, loop.num_dataloaders
    trainer.fit(trainer.lightning_module, loader(), loader(2))
    given, other = loop._data_source, loader(8)
    found = (
        before.instance, before.name, source.is_defined(),
        isinstance(trainer.fit_loop._data_source.instance, DataLoader), loop._has_run, given.is_module(),
        type(trainer.fit_loop._combined_loader).__name__, first,
    )  # fmt: skip
    given.instance = other
    return *found, given.dataloader() is other


@finds([True, False, False, True])
def windows(pl: Any) -> Any:
    found = []

    class Watch(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            found.append(trainer.fit_loop._should_accumulate())

    fitted(pl, accumulate_grad_batches=2, callbacks=[Watch()])
    trainer = quiet(pl)
    trainer.fit_loop.epoch_loop.max_steps = 2
    trainer.fit(net(pl))
    return [*found, (trainer.global_step, trainer.fit_loop.max_steps) == (2, 2)]


@finds((5, 8))
def the_x_axis_moved(pl: Any) -> Any:
    trainer = fitted(pl)
    trainer.fit_loop.epoch_loop._batches_that_stepped += 2
    before = trainer.fit_loop.epoch_loop._batches_that_stepped
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module)
    return before, trainer.fit_loop.epoch_loop._batches_that_stepped


@finds(([[[0, 1], [2, 3]]], [[0, 1]], []))
def indices_of_predictions(pl: Any) -> Any:
    found: list[Any] = []

    class Writer(pl.callbacks.BasePredictionWriter):  # type: ignore[misc]
        def write_on_batch_end(self, trainer: Any, *args: Any) -> None:
            found.append([list(batch) for batch in trainer.predict_loop.epoch_batch_indices[0]])

        def write_on_epoch_end(self, trainer: Any, *args: Any) -> None:
            found.append([[list(batch) for batch in one] for one in trainer.predict_loop.epoch_batch_indices])

    trainer = quiet(pl, callbacks=[Writer("batch_and_epoch")])
    trainer.predict(net(pl))
    return found[-1], found[0], trainer.predict_loop.epoch_batch_indices


@finds(
    (
        ["training_step.loss"], ["validation_step.val"], [("loss", True, False, "training_step", True)] * 3,
        ["loss"], ["_FitLoop"] * 3 + ["_EvaluationLoop"] * 2, (None, None),
    )
)  # fmt: skip
def results_and_the_loop_that_runs(pl: Any) -> Any:
    keys: dict[str, list[str]] = {}
    metas, shown, loops = [], [], []

    class Watch(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            keys["train"] = sorted(trainer._results.keys())
            one = trainer._results["training_step.loss"]
            same = bool(one.value == outputs["loss"])
            metas.append((one.meta.name, one.meta.on_step, one.meta.on_epoch, one.meta.fx, same))
            shown[:] = sorted(trainer._results.metrics(on_step=True)["callback"])
            loops.append(type(trainer._active_loop).__name__)

        def on_validation_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            keys["val"] = sorted(trainer._results.keys())
            assert trainer._active_loop is trainer._evaluation_loop is trainer.fit_loop.epoch_loop.val_loop
            loops.append(type(trainer._active_loop).__name__)

    trainer = fitted(pl, callbacks=[Watch()])
    names = [f"_{name.lstrip('_')}" for name in loops]
    return keys["train"], keys["val"], metas, shown, names, (trainer._results, trainer._active_loop)


@finds(True)
def kinds_of_loops(pl: Any) -> Any:
    trainer = quiet(pl)
    return (
        isinstance(trainer.fit_loop, module(pl, "loops.fit_loop")._FitLoop)
        and isinstance(trainer.fit_loop.epoch_loop, module(pl, "loops")._TrainingEpochLoop)
        and isinstance(trainer.validate_loop, module(pl, "loops.evaluation_loop")._EvaluationLoop)
        and isinstance(trainer.predict_loop, module(pl, "loops.prediction_loop")._PredictionLoop)
    )


# Connectors


@finds(("cpu", "SingleDeviceStrategy", "CPUAccelerator", False, "cpu", 1, ["cpu"], "LightningEnvironment", "64-true"))
def a_device_without_a_trainer(pl: Any) -> Any:
    kind = module(pl, "trainer.connectors.accelerator_connector")._AcceleratorConnector
    one = kind(accelerator="cpu", devices=1, precision="64-true")
    devices = [device.type for device in one._parallel_devices]
    return (
        one.strategy.root_device.type, type(one.strategy).__name__, type(one.accelerator).__name__, one.is_distributed,
        one._accelerator_flag, one._devices_flag, devices, type(one.cluster_environment).__name__, one._precision_flag,
    )  # fmt: skip


@finds(("cpu", "LightningEnvironment", 1, None, True, "32-true"))
def the_accelerator_of_a_trainer(pl: Any) -> Any:
    one = quiet(pl)._accelerator_connector
    return (
        one._accelerator_flag, type(one.cluster_environment).__name__, one._num_nodes_flag, one.checkpoint_io,
        one.use_distributed_sampler, one._precision_flag,
    )  # fmt: skip


@finds(({"epoch": 1, "global_step": 3}, ["optimizer_states", "state_dict"], 6, True, 3, True))
def checkpoints_by_the_connector(pl: Any) -> Any:
    trainer = fitted(pl)
    dumped = trainer._checkpoint_connector.dump_checkpoint()
    trainer.strategy.save_checkpoint(dumped, "dumped.ckpt")
    keys = {"optimizer_states", "state_dict"} & set(dumped)
    only = {"optimizer_states", "state_dict"} & set(trainer._checkpoint_connector.dump_checkpoint(weights_only=True))
    other = quiet(pl, max_epochs=2)
    other.fit(net(pl), ckpt_path="dumped.ckpt")
    third, steps = quiet(pl, max_epochs=1, limit_train_batches=0), []

    def restore(self: Any) -> None:
        connector = self.trainer._checkpoint_connector
        connector.resume_start("dumped.ckpt")
        connector.restore_model()
        steps.append(connector._loaded_checkpoint["global_step"])
        connector.resume_end()

    model = net(pl, on_fit_start=restore)
    third.fit(model)
    same = torch.equal(model.layer.weight, trainer.lightning_module.layer.weight)
    return (
        {name: dumped[name] for name in ("epoch", "global_step")} | {"epoch": trainer.current_epoch}, sorted(keys),
        other.global_step, only == {"state_dict"}, steps[0], same,
    )  # fmt: skip


@finds((3, True, ["prepared"], True, 1))
def data_by_the_connector(pl: Any) -> Any:
    heard: list[str] = []

    def prepare_data(self: Any) -> None:
        heard.append("prepared")

    trainer, model = quiet(pl), net(pl, prepare_data=prepare_data)
    model.trainer = trainer
    trainer.strategy.connect(model)
    trainer._data_connector.attach_data(model)
    trainer._data_connector.prepare_data()
    trainer.fit_loop.setup_data()
    batches, given = trainer.num_training_batches, loader(2)
    trainer._data_connector.attach_dataloaders(model, train_dataloaders=given)
    defined = trainer.fit_loop._data_source.is_defined() and trainer.validate_loop._data_source.is_defined()
    return batches, defined, heard, trainer.fit_loop._data_source.instance is given, len(given)


@finds((["loss", "mine", "val"], ["bar"], ["loss", "val"], {}, [(7, 1.0)], True))
def metrics_by_the_connector(pl: Any) -> Any:
    logged: list[Any] = []

    class Own(pl.loggers.logger.Logger):  # type: ignore[misc]
        name = version = "own"

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            logged.append((step, metrics.get("own")))

    trainer = fitted(pl, logger=Own())
    connector = trainer._logger_connector
    connector._callback_metrics["mine"] = torch.tensor(1.0)
    connector._progress_bar_metrics["bar"] = 2.0
    found = sorted(trainer.callback_metrics), sorted(trainer.progress_bar_metrics)
    logged.clear()
    before = sorted(connector.callback_metrics.keys() - {"mine"})
    connector.log_metrics({"own": torch.tensor(1.0)}, step=7)
    seen = "own" in trainer.logged_metrics
    connector.reset_metrics()
    return *found, before, dict(trainer.callback_metrics), logged, seen


@finds((False, True, ["Last", "ModelCheckpoint"], 3))
def signals_and_callbacks(pl: Any) -> Any:
    class Last(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            call = module(pl, "trainer.call")
            call._call_callback_hooks(trainer, "mine", 1)
            call._call_lightning_module_hook(trainer, "theirs", 2)

        def mine(self, trainer: Any, pl_module: Any, number: int) -> None:
            assert number == 1 and pl_module is trainer.lightning_module

    def theirs(self: Any, number: int) -> None:
        self.heard = getattr(self, "heard", 0) + number // 2

    trainer = quiet(pl, callbacks=[Last()])
    before = trainer._signal_connector.received_sigterm
    model = net(pl, theirs=theirs)
    trainer.fit(model)
    trainer._signal_connector.received_sigterm = True
    kinds = trainer._callback_connector._reorder_callbacks([pl.callbacks.ModelCheckpoint(), Last()])
    return before, trainer.received_sigterm, [type(callback).__name__ for callback in kinds], model.heard


# Classes that libraries derive from


@finds((3, 1, "Mine", "Mine"))
def an_environment(pl: Any) -> Any:
    class Mine(module(pl, "plugins.environments").LightningEnvironment):  # type: ignore[misc]
        @property
        def creates_processes_externally(self) -> bool:
            return True

        def world_size(self) -> int:
            return 1

    trainer = fitted(pl, plugins=[Mine()])
    environment = getattr(trainer.strategy, "cluster_environment", trainer._accelerator_connector.cluster_environment)
    kinds = type(environment).__name__, type(trainer._accelerator_connector.cluster_environment).__name__
    return trainer.global_step, trainer.world_size, *kinds


@finds(["save", "save", "remove", "load"])
def a_checkpoint_io(pl: Any) -> Any:
    heard: list[str] = []

    class Mine(module(pl, "plugins.io").TorchCheckpointIO):  # type: ignore[misc]
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            heard.append("save")
            super().save_checkpoint(*args, **kwargs)

        def load_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
            heard.append("load")
            return super().load_checkpoint(*args, **kwargs)

        def remove_checkpoint(self, path: Any) -> None:
            heard.append("remove")
            super().remove_checkpoint(path)

    trainer = fitted(pl, max_epochs=2, plugins=[Mine()], enable_checkpointing=True, default_root_dir="io")
    trainer.validate(net(pl), ckpt_path=trainer.checkpoint_callback.best_model_path, verbose=False)
    return heard


@finds(["sanity", "train", "validation", "predict", ["mine"], True])
def progress_bars(pl: Any) -> Any:
    heard: list[Any] = []

    class Bar(pl.callbacks.TQDMProgressBar):  # type: ignore[misc]
        def get_metrics(self, trainer: Any, pl_module: Any) -> Any:
            metrics = super().get_metrics(trainer, pl_module)
            metrics.pop("v_num", None)
            return {**metrics, "mine": 1}

        def _should_update(self, current: int, total: int) -> bool:
            self.asked = True
            return False

    def made(kind: str) -> Any:
        def init(self: Any) -> Any:
            heard.append(kind)
            bar = getattr(super(Bar, self), f"init_{kind}_tqdm")()
            bar.disable = True
            return bar

        return init

    for kind in ("sanity", "train", "validation", "predict"):
        setattr(Bar, f"init_{kind}_tqdm", made(kind))
    bar = Bar()
    trainer = fitted(pl, callbacks=[bar], enable_progress_bar=True, num_sanity_val_steps=1)
    trainer.predict(trainer.lightning_module)
    return [*heard, sorted(bar.get_metrics(trainer, trainer.lightning_module)), bar.asked]


@finds(
    (
        ["skip", "run", "validate", "evaluate Tensor", "message", "log 3"], [1, 0, None],
        (False, "Metric x improved. New best score: 1.000"), (False, None), True, (False, True),
    )
)  # fmt: skip
def early_stopping(pl: Any) -> Any:
    heard: list[str] = []
    kind = pl.callbacks.EarlyStopping

    class Own(kind):  # type: ignore[misc, valid-type]
        stops = False

        def _should_skip_check(self, trainer: Any) -> Any:
            heard.append("skip")
            return super()._should_skip_check(trainer)

        def _run_early_stopping_check(self, trainer: Any) -> None:
            heard.append("run")
            super()._run_early_stopping_check(trainer)

        def _validate_condition_metric(self, logs: Any) -> Any:
            heard.append("validate")
            return super()._validate_condition_metric(logs)

        def _evaluate_stopping_criteria(self, current: Any) -> Any:
            heard.append(f"evaluate {type(current).__name__}")
            return self.stops or super()._evaluate_stopping_criteria(current)

        def _improvement_message(self, current: Any) -> Any:
            heard.append("message")
            return super()._improvement_message(current)

        def _log_info(self, *args: Any) -> None:
            heard.append(f"log {len(args)}")

    fitted(pl, callbacks=[Own("val", verbose=True)])
    stop = Own("val")
    stop.stops = (True, None)  # type: ignore[assignment]
    trainer = fitted(pl, max_epochs=5, callbacks=[stop])
    alone = kind("x", patience=2, strict=False)
    judged = [alone._evaluate_stopping_criteria(torch.tensor(value)) for value in (1.0, 2.0, 2.0)]
    there = alone._validate_condition_metric({"y": 1}), alone._validate_condition_metric({"x": 1})
    ended = [trainer.current_epoch, stop.stopped_epoch, stop.stopping_reason_message]
    return heard[:6], ended, judged[0], judged[1], judged[2][0], there


STEPS_OF_A_SAVE = (
    "_should_save_on_train_epoch_end", "_monitor_candidates", "_save_topk_checkpoint", "_save_monitor_checkpoint",
    "_save_none_monitor_checkpoint", "check_monitor_top_k", "_update_best_and_save",
    "_get_metric_interpolated_filepath_name", "format_checkpoint_name", "_format_checkpoint_name", "file_exists",
    "_save_checkpoint", "_save_last_checkpoint",
)  # fmt: skip


@finds(
    [
        [
            "_monitor_candidates", "_save_topk_checkpoint", "_save_monitor_checkpoint", "check_monitor_top_k",
            "_update_best_and_save", "_get_metric_interpolated_filepath_name", "format_checkpoint_name",
            "_format_checkpoint_name", "file_exists", "_save_checkpoint", "_save_last_checkpoint",
            "format_checkpoint_name", "_format_checkpoint_name", "file_exists", "_save_checkpoint",
        ],
        [
            "_monitor_candidates", "_save_topk_checkpoint", "_save_none_monitor_checkpoint",
            "_get_metric_interpolated_filepath_name", "format_checkpoint_name", "_format_checkpoint_name",
            "file_exists", "_save_checkpoint", "_save_last_checkpoint",
        ],
    ]
)  # fmt: skip
def steps_of_a_save(pl: Any) -> Any:
    heard: list[str] = []
    kind = pl.callbacks.ModelCheckpoint

    def replaced(name: str) -> Any:
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            heard.append(name)
            return getattr(kind, name)(self, *args, **kwargs)

        return step

    own, found = type("Own", (kind,), {name: replaced(name) for name in STEPS_OF_A_SAVE}), []
    for arguments in ({"monitor": "val", "save_last": True}, {}):
        fitted(pl, callbacks=[own(f"kept{len(found)}", **arguments)], enable_checkpointing=True)
        found.append([name for name in heard if name != "_should_save_on_train_epoch_end"])
        assert len(found[-1]) < len(heard)
        heard.clear()
    return found


def kept(pl: Any, folder: str, epochs: int = 2, **methods: Any) -> list[str]:
    arguments = methods.pop("arguments", {})
    own = type("Own", (pl.callbacks.ModelCheckpoint,), methods)
    fitted(pl, max_epochs=epochs, callbacks=[own(folder, **arguments)], enable_checkpointing=True)
    return sorted(path.name for path in Path(folder or "elsewhere").glob("*"))


@finds(
    (
        ["epoch=1-mine=1.0.ckpt"], ["x3.ckpt", "x6.ckpt"], ["pepoch=1-step=6.ckpt", "plast.ckpt"], ["own.ckpt"],
        ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"], ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"],
        [], ["epoch=1-step=6.ckpt"], ["epoch=0-step=3.ckpt"],
    )
)  # fmt: skip
def checkpoints_otherwise(pl: Any) -> Any:
    kind = pl.callbacks.ModelCheckpoint

    def candidates(self: Any, trainer: Any) -> Any:
        found = kind._monitor_candidates(self, trainer)
        return {**found, "mine": found["epoch"].float()}

    def name(self: Any, monitor_candidates: Any, trainer: Any, del_filepath: Any = None) -> str:
        return os.path.join(self.dirpath, f"x{int(monitor_candidates['step'])}.ckpt")

    def shown(self: Any, filename: Any, metrics: Any, prefix: Any = None, auto_insert_metric_name: bool = True) -> str:
        return "p" + str(kind._format_checkpoint_name(self, filename, metrics, prefix, auto_insert_metric_name))

    def alone(self: Any, trainer: Any, monitor_candidates: Any) -> None:
        assert not self._fs.exists(os.path.join(self.dirpath, "own.ckpt"))
        self._save_checkpoint(trainer, os.path.join(self.dirpath, "own.ckpt"))

    by_mine = {"monitor": "mine", "mode": "max", "filename": "{epoch}-{mine:.1f}"}
    return (
        kept(pl, "a", _monitor_candidates=candidates, arguments=by_mine),
        kept(pl, "b", _get_metric_interpolated_filepath_name=name, arguments={"save_top_k": -1}),
        kept(pl, "c", _format_checkpoint_name=shown, arguments={"save_last": True}),
        kept(pl, "d", epochs=1, _save_topk_checkpoint=alone),
        kept(pl, "e", _should_remove_checkpoint=lambda self, trainer, previous, current: False),
        kept(pl, "f", _remove_checkpoint=lambda self, trainer, filepath: None),
        kept(pl, "g", _should_skip_saving_checkpoint=lambda self, trainer: True),
        kept(pl, "", _ModelCheckpoint__resolve_ckpt_dir=lambda self, trainer: os.path.abspath("elsewhere")),
        kept(pl, "h", epochs=1, _save_last_checkpoint=lambda self, trainer, monitor_candidates: None),
    )


# Hyper-parameters


@finds((["Net", "Net"], {"width": 3}, True, "LocalFileSystem", ["checkpoint", "strict", "cls_kwargs_new"]))
def functions_of_saving(pl: Any) -> Any:
    saving = module(pl, "core.saving")

    class Net(type(net(pl))):  # type: ignore[misc]
        def __init__(self, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Linear(2, width)

    kind = Net
    model, trainer = kind(width=3), quiet(pl)
    trainer.strategy.connect(model)
    trainer.save_checkpoint("model.ckpt")
    first = saving._load_from_checkpoint(kind, "model.ckpt", map_location="cpu", strict=True)
    second = saving._load_state(kind, torch.load("model.ckpt", weights_only=False), strict=True)
    same = torch.equal(first.layer.weight, model.layer.weight) and torch.equal(second.layer.bias, model.layer.bias)
    parameters = list(inspect.signature(saving._load_state).parameters)[1:]
    assert callable(saving.pl_load) and callable(saving._default_map_location)
    kinds = [type(first).__name__, type(second).__name__]
    return kinds, dict(second.hparams), same, type(saving.get_filesystem("x")).__name__, parameters


@finds(({"a": 1, "b": [1, 2], "c": "x"}, {"a": 1, "c": "x"}))
def files_of_hyper_parameters(pl: Any) -> Any:
    saving = module(pl, "core.saving")
    saving.save_hparams_to_yaml("hparams.yaml", {"a": 1, "b": [1, 2], "c": "x"})
    saving.save_hparams_to_tags_csv("hparams.csv", {"a": 1, "c": "x"})
    return saving.load_hparams_from_yaml("hparams.yaml"), saving.load_hparams_from_tags_csv("hparams.csv")


@finds(
    ({"a": 3, "b": 2, "c": 4, "z": 1}, {"a": 3, "b": 2, "c": 4}, {"a": 5}, ["net.weight", "net.bias"], {"a": 3, "b": 2})
)
def hyper_parameters_of_plain_modules(pl: Any) -> Any:
    mixin = module(pl, "core.mixins").HyperparametersMixin

    class After(nn.Module, mixin):  # type: ignore[misc, valid-type]
        def __init__(self, a: int = 1, b: int = 2, **others: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Before(mixin, nn.Module):  # type: ignore[misc, valid-type]
        def __init__(self, a: int = 1, net: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters(ignore=["net"])
            self.net = net

    first, second = After(3, c=4), copy.deepcopy(Before(5, nn.Linear(1, 1)))
    first.hparams.z = 1
    found = dict(first.hparams), dict(first.hparams_initial), dict(second.hparams), list(second.state_dict())
    del first.hparams["z"]
    first.hparams.pop("c")
    return *found, dict(first.hparams)


@finds(({"a": 10, "b": 2, "new": 5, "q": 1}, {"a": 1, "b": 2}, {"a": 10, "b": 2, "new": 5, "q": 1}, {"k": 1, "j": 2}))
def hyper_parameters_that_are_edited(pl: Any) -> Any:
    class Net(type(net(pl))):  # type: ignore[misc]
        def __init__(self, a: int = 1, b: int = 2) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.hparams.a = 10
            self.hparams["new"] = 5
            self.hparams.update(q=1)

    model, trainer = Net(), quiet(pl)
    trainer.strategy.connect(model)
    trainer.save_checkpoint("model.ckpt")
    other = net(pl)
    other._set_hparams({"k": 1})
    other._set_hparams({"j": 2})
    checkpoint = torch.load("model.ckpt", weights_only=False)
    return dict(model.hparams), dict(model.hparams_initial), dict(checkpoint["hyper_parameters"]), dict(other.hparams)


@finds(({"a": 7, "b": 8, "e": 5}, [{"a": 7, "b": 8, "e": 5}, {"d": 4, "x": 2}], {"d": 4, "x": 2}))
def arguments_of_init(pl: Any) -> Any:
    parsing, found = module(pl, "utilities.parsing"), {}

    class Base:
        def __init__(self, a: int, b: int = 2, **others: Any) -> None:
            super().__init__()
            found["base"] = parsing.get_init_args(inspect.currentframe())
            found["all"] = parsing.collect_init_args(inspect.currentframe(), [])

    class Derived(Base):
        def __init__(self, d: int = 1, **others: Any) -> None:
            super().__init__(7, 8, e=5)
            found["derived"] = parsing.get_init_args(inspect.currentframe())

    Derived(d=4, x=2)
    return found["base"], found["all"], found["derived"]
