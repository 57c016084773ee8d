"""Who only looks on leaves no trace: with a bystander or without it, training is equal to the last bit.

Bystanders are the sanity check, the progress bar, loggers, the summary, checkpoints, other callbacks that watch, and
the faster ways to read data.
"""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import pytest
import torch
import torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

import fulmen as pl
from fulmen.loggers import CSVLogger, TensorBoardLogger
from fulmen.utilities.combined_loader import CombinedLoader

SAMPLES, BATCH, EPOCHS = 20, 4, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*evaluation mode, and training leaves them there.*"),
    pytest.mark.filterwarnings("ignore:.*shuffles its samples.*"),
    pytest.mark.filterwarnings("ignore:.*is not empty.*"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class Model(pl.LightningModule):
    """Whatever a validation might leave behind, its training loss depends on."""

    seen: Tensor
    replaced: Tensor
    grown: Tensor

    def __init__(self, loaders: Callable[[], tuple[Any, Any]]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("grown", torch.zeros(1))
        self.metric = torchmetrics.SumMetric()
        self.logged = torchmetrics.MeanMetric()
        self.example_input_array = torch.ones(3, 6)
        self.training_data, self.validation_data = loaders()
        self.losses: list[Tensor] = []

    def on_fit_start(self) -> None:
        self.body[1].eval()  # a frozen layer stays frozen

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.body(self.norm(inputs))
        return output.squeeze(-1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        traces = self.seen + self.replaced + self.grown.numel() + self.metric.sum_value + self.logged.weight
        draws = torch.rand(()) + random.random() + numpy.random.rand() + self.offset
        error: Tensor = self(batch[0]) - batch[1]
        loss = error.square().mean() * (1.0 + 1e-3 * traces) + 1e-3 * draws
        self.log("train_value", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.losses.append(loss.detach().clone())
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        inputs, targets = batch["a"] if isinstance(batch, dict) else batch
        value = ((self(inputs) - targets) ** 2).mean()
        self.seen += 1
        self.replaced = self.replaced + 1
        self.grown = torch.cat([self.grown, torch.ones(1)])
        self.metric.update(value)
        self.logged.update(value)
        noise = torch.rand(()) + random.random() + numpy.random.rand()
        if dataloader_idx == 0:
            self.log("value", value + 1e-3 * noise, prog_bar=True, add_dataloader_idx=False)

    def on_validation_epoch_end(self) -> None:
        self.log("logged", self.logged)

    def train_dataloader(self) -> Any:
        self.offset = torch.rand(2).sum() + random.random() + numpy.random.rand()
        return self.training_data

    def val_dataloader(self) -> Any:
        torch.rand(3), random.random(), numpy.random.rand()
        return self.validation_data

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "value"}}


def table() -> TensorDataset:
    fixed = torch.Generator().manual_seed(11)
    inputs = torch.randn(SAMPLES, 6, generator=fixed)
    return TensorDataset(inputs, inputs.sum(1))


class Noisy(Dataset[Any]):
    """It draws from a generator of its own, and from the global ones."""

    def __init__(self) -> None:
        self.table = table()
        self.noise = torch.Generator().manual_seed(3)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Any:
        inputs, target = self.table[index]
        noise = torch.rand(6, generator=self.noise) + torch.rand(6) + random.random() + numpy.random.rand()
        return inputs + 0.1 * noise, target


def shared_generator() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    training, validation = (DataLoader(table(), BATCH, shuffle=True, generator=generator) for _ in range(2))
    return training, validation


def shared_sampler_generator() -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(5)
    training, validation = (
        DataLoader(table(), BATCH, sampler=RandomSampler(table(), generator=generator, num_samples=16))
        for _ in range(2)
    )
    return training, validation


def shared_data() -> tuple[Any, Any]:
    data = Noisy()
    return DataLoader(data, BATCH, shuffle=True), DataLoader(data, BATCH, shuffle=True)


def several() -> tuple[Any, Any]:
    training, validation = shared_generator()
    return training, [validation, DataLoader(Noisy(), 3, shuffle=True), DataLoader(table(), 7)]


def combined() -> tuple[Any, Any]:
    training, validation = shared_generator()
    rows = {"a": validation, "b": DataLoader(Noisy(), 3, shuffle=True)}
    return training, CombinedLoader(rows, "max_size_cycle")


def with_workers(count: int, persistent: bool = False) -> tuple[Any, Any]:
    training = DataLoader(Noisy(), BATCH, shuffle=True)
    return training, DataLoader(Noisy(), BATCH, shuffle=True, num_workers=count, persistent_workers=persistent)


DATA: dict[str, Callable[[], tuple[Any, Any]]] = {
    "in order": lambda: (DataLoader(table(), BATCH, shuffle=True), DataLoader(table(), BATCH)),
    "shuffled": lambda: (DataLoader(table(), BATCH, shuffle=True), DataLoader(table(), BATCH, shuffle=True)),
    "a shared generator": shared_generator,
    "a sampler's shared generator": shared_sampler_generator,
    "shared data that draw": shared_data,
    "several loaders": several,
    "combined loaders": combined,
    "two workers": lambda: with_workers(2),
    "a worker that stays": lambda: with_workers(1, persistent=True),
}
IN_PROCESS = [name for name in DATA if "worker" not in name]


@dataclass
class Trained:
    """What a training leaves behind."""

    losses: Tensor
    weights: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    random: list[Any]


def train(data: str, fast: str = "1", **flags: Any) -> Trained:
    torch.manual_seed(7)
    random.seed(7)
    numpy.random.seed(7)
    module = Model(DATA[data])
    quiet = {
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    with mock.patch.dict(os.environ, FULMEN_FAST_DATA=fast):
        trainer = pl.Trainer(max_epochs=EPOCHS, **{**quiet, **flags})
        trainer.fit(module)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    generator = module.training_data.generator
    states: list[Any] = [torch.get_rng_state(), random.getstate(), repr(numpy.random.get_state())]
    states += [] if generator is None else [generator.get_state()]
    scheduler = trainer.lr_scheduler_configs[0].scheduler.state_dict()
    return Trained(
        torch.stack(module.losses), dict(module.state_dict()), trainer.optimizers[0].state_dict(), scheduler, states
    )


@functools.cache
def alone(data: str) -> Trained:
    """The training without any bystander."""
    return train(data)


def check_same(one: Trained, other: Trained) -> None:
    assert len(one.losses) >= EPOCHS * 4
    assert one.losses.unique().numel() > EPOCHS * 3
    assert torch.equal(one.losses, other.losses), (one.losses - other.losses).tolist()
    torch.testing.assert_close(one.weights, other.weights, rtol=0, atol=0)
    torch.testing.assert_close(one.optimizer, other.optimizer, rtol=0, atol=0)
    assert one.scheduler == other.scheduler
    for mine, its in zip(one.random, other.random):
        assert torch.equal(mine, its) if isinstance(mine, Tensor) else mine == its


@pytest.fixture(autouse=True, scope="module")
def _imported() -> None:
    """Imports what some bystanders need, so that no test depends on which one came first."""
    import rich.style  # noqa: F401 - it draws a number, see test_the_first_use_of_a_package


@pytest.mark.parametrize("steps", [2, -1, 1])
@pytest.mark.parametrize("data", DATA)
def test_the_sanity_check(data: str, steps: int) -> None:
    check_same(train(data, num_sanity_val_steps=steps), alone(data))


@pytest.mark.parametrize("fast", ["flag", "environment"])
@pytest.mark.parametrize("data", IN_PROCESS)
def test_the_faster_ways_to_read_data(data: str, fast: str) -> None:
    slow = train(data, fast_data=False) if fast == "flag" else train(data, fast="0")
    check_same(slow, alone(data))


class Watches(pl.Callback):
    """Listens to much and does nothing."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pass

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen = {name: value.item() for name, value in trainer.callback_metrics.items()}

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        pass

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("watched", 1.0)


def watchers(root: Path, names: set[str]) -> list[pl.Callback]:
    callbacks = pl.callbacks
    made: dict[str, Callable[[], Any]] = {
        "best": lambda: callbacks.ModelCheckpoint(root, monitor="value", save_top_k=2, save_last=True),
        "each step": lambda: callbacks.ModelCheckpoint(root / "steps", every_n_train_steps=2, save_top_k=-1),
        "patient": lambda: callbacks.EarlyStopping("value", patience=100),
        "timer": lambda: callbacks.Timer("00:01:00:00"),
        "rates": lambda: callbacks.LearningRateMonitor("step"),
        "listener": Watches,
        "plain bar": lambda: callbacks.TQDMProgressBar(refresh_rate=1),
        "rich bar": lambda: callbacks.RichProgressBar(refresh_rate=1),
        "rich summary": lambda: callbacks.RichModelSummary(max_depth=-1),
    }
    return [made[name]() for name in made if name in names]


WATCHERS = ["best", "each step", "patient", "timer", "rates", "listener", "plain bar", "rich bar", "rich summary"]


LOGGERS = ["csv", "tensorboard", "graph"]


def loggers(root: Path, names: set[str]) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "csv": lambda: CSVLogger(root, flush_logs_every_n_steps=1),
        "tensorboard": lambda: TensorBoardLogger(root),
        "graph": lambda: TensorBoardLogger(root, name="graph", log_graph=True),
    }
    return [made[name]() for name in made if name in names] or False


def flags_for(root: Path, names: set[str]) -> dict[str, Any]:
    """The Trainer's flags for some watchers and loggers."""
    return {
        "callbacks": watchers(root, names),
        "logger": loggers(root, names),
        "enable_model_summary": bool(names & {"summary", "rich summary"}),
        "enable_progress_bar": bool(names & {"plain bar", "rich bar"}),
        "enable_checkpointing": bool(names & {"best", "each step"}),
    }


@pytest.mark.parametrize("name", [*WATCHERS, *LOGGERS, "summary"])
def test_each_watcher(name: str, tmp_path: Path) -> None:
    names = {name, "csv"} if name == "rates" else {name}  # rates are kept by a logger
    check_same(train("shuffled", log_every_n_steps=1, **flags_for(tmp_path, names)), alone("shuffled"))


@pytest.mark.parametrize("flags", [
    {"enable_model_summary": True},
    {"enable_progress_bar": True},
    {"enable_checkpointing": True},
    {"logger": True},
    {"inference_mode": False},
    {"detect_anomaly": True},
    {"profiler": None},
], ids=str)  # fmt: skip
def test_each_flag(flags: dict[str, Any], tmp_path: Path) -> None:
    check_same(train("shuffled", default_root_dir=tmp_path, **flags), alone("shuffled"))


def test_the_defaults(tmp_path: Path) -> None:
    names = ("num_sanity_val_steps", "logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults: dict[str, Any] = dict.fromkeys(names)
    check_same(train("a shared generator", default_root_dir=tmp_path, **defaults), alone("a shared generator"))


FIRST_USE = """
import random, sys
import torch
import fulmen as pl

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.example_input_array = torch.ones(1, 2)

    def forward(self, inputs):
        return self.layer(inputs)

    def training_step(self, batch, batch_idx):
        self.log("value", 1.0)
        return self(batch).mean() * (1 + random.random())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def train(make_flags):
    torch.manual_seed(7)
    random.seed(7)
    model = Model()
    flags = {**dict.fromkeys([*SHOWN, "logger"], False), "max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1}
    pl.Trainer(**{**flags, **make_flags()}).fit(model, torch.ones(3, 1, 2))
    return [*model.layer.weight.flatten().tolist(), random.random(), torch.rand(()).item()]

def watched():
    callbacks = [pl.callbacks.RichProgressBar(), pl.callbacks.RichModelSummary(), pl.callbacks.ModelCheckpoint()]
    logger = [pl.loggers.CSVLogger("logs"), pl.loggers.TensorBoardLogger("logs")]
    return {"callbacks": callbacks, "logger": logger, **dict.fromkeys(SHOWN, True)}

SHOWN = ["enable_checkpointing", "enable_progress_bar", "enable_model_summary"]
alone = train(dict)
assert not {"rich", "tensorboard"} & set(sys.modules), "they were imported before they were needed"
assert train(watched) == alone
assert {"rich", "tensorboard"} < set(sys.modules)
"""


def test_the_first_use_of_a_package(tmp_path: Path) -> None:
    """Some packages draw a random number when they are imported, which is in the midst of a run."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_USE], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@given(
    data=st.sampled_from(IN_PROCESS),
    sanity=st.sampled_from([0, 2, -1]),
    names=st.sets(st.sampled_from([*WATCHERS, *LOGGERS, "summary"])),
    every=st.sampled_from([1, 3, 50]),
    fast=st.sampled_from(["0", "1"]),
)
def test_all_together(
    tmp_path_factory: pytest.TempPathFactory,
    data: str,
    sanity: int,
    names: set[str],
    every: int,
    fast: str,
) -> None:
    names = names - {"plain bar"} if "rich bar" in names else names  # one bar at a time
    names = names if names & set(LOGGERS) else names - {"rates"}  # rates are kept by a logger
    flags = flags_for(tmp_path_factory.mktemp("run"), names)
    check_same(train(data, fast, num_sanity_val_steps=sanity, log_every_n_steps=every, **flags), alone(data))
