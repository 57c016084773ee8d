"""ModelCheckpoint over files that are written while training goes on; with real runs, real errors and real kills."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import warm
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fulmen import LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint
from fulmen.checkpoint.async_io import AsyncCheckpointIO, CheckpointNotSavedError
from fulmen.checkpoint.io import TorchCheckpointIO
from fulmen.loggers.logger import DummyLogger
from fulmen.plugins.io import CheckpointIO
from fulmen.utilities.seal import SIZE
from fulmen.utilities.seed import seed_everything

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*The folder of checkpoints.*", "ignore:.*in the middle of it.*"
)
SOAK = os.environ.get("FULMEN_SOAK") == "1"
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Net(LightningModule):
    """Logs values that rise and fall as the metric `val`."""

    def __init__(self, values: Any = (3, 1, 2, 0, 5)) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.values = values
        self.at_step: dict[int, Any] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.at_step.get(self.global_step, lambda: None)()
        self.log("val", float(self.values[self.global_step % len(self.values)]))
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(module: LightningModule, callback: ModelCheckpoint, io: CheckpointIO, steps: int = 10, **flags: Any) -> Trainer:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    trainer = Trainer(**{**QUIET, **flags}, max_steps=steps, callbacks=[callback], plugins=[io])
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(10, 4)), batch_size=2))
    return trainer


class Noting(TorchCheckpointIO):
    """Notes what becomes of files; writes only while its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.events: list[str] = []
        self.failures = 0  # how many of the next saves fail

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        assert self.gate.wait(60)
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)
        self.events.append(f"saved {Path(path).stem}")

    def remove_checkpoint(self, path: Any) -> None:
        self.events.append(f"removed {Path(path).stem}")
        super().remove_checkpoint(path)


def names(folder: Any = "out") -> list[str]:
    """The files that are in their place."""
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in found if not name.endswith(".part")]


def land(io: AsyncCheckpointIO) -> None:
    """Waits until a file is in its place; nobody hears of it by this."""
    if io._flight is not None:
        io._flight.wait()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    monitor=st.sampled_from([None, "val"]),
    top_k=st.sampled_from([-1, 0, 1, 2]),
    last=st.sampled_from([True, "link", None]),
    every=st.sampled_from([{"every_n_train_steps": 2}, {"every_n_epochs": 1}]),
    values=st.lists(st.integers(0, 9), min_size=1, max_size=9),
)
def test_leaves_the_files_that_a_synchronous_run_leaves(
    tmp_path: Path, monitor: Any, top_k: int, last: Any, every: Any, values: list[int]
) -> None:
    """The same names with the same bytes; the rankings in them included."""
    if monitor is None and top_k == 2:
        top_k = 1
    found = []
    for io in (TorchCheckpointIO(), AsyncCheckpointIO()):
        shutil.rmtree("out", ignore_errors=True)
        callback = ModelCheckpoint(dirpath="out", monitor=monitor, save_top_k=top_k, save_last=last, **every)
        seed_everything(1, verbose=False)
        fit(Net(values), callback, io)
        # without the seal, which says when the file was written
        held = {name: (os.path.islink(f"out/{name}"), Path("out", name).read_bytes()[:-SIZE]) for name in names()}
        found.append((held, {name: str(value) for name, value in callback.state_dict().items()}))
    assert found[0] == found[1]


def test_training_goes_on_while_a_file_is_written() -> None:
    io, module, seen = Noting(), Net(), []
    module.at_step = {
        1: io.gate.clear,
        2: lambda: seen.append(names()),
        3: lambda: (seen.append(names()), io.gate.set()),
        5: lambda: seen.append(names()),
    }
    callback = ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2, save_top_k=-1)
    fit(module, callback, AsyncCheckpointIO(io), steps=6)
    assert seen == [[], [], ["step=2.ckpt"]] or seen == [[], [], ["step=2.ckpt", "step=4.ckpt"]]
    assert names() == ["step=2.ckpt", "step=4.ckpt", "step=6.ckpt"]
    for step in (2, 4, 6):
        assert torch.load(f"out/step={step}.ckpt", weights_only=True)["global_step"] == step


def test_loggers_hear_and_old_files_go_only_after_the_new_one_is_there() -> None:
    io = Noting()

    class Logger(DummyLogger):
        def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
            io.events.append(f"heard {Path(checkpoint_callback.best_model_path).stem}")
            assert os.path.exists(checkpoint_callback.best_model_path)

    module, flying = Net(), AsyncCheckpointIO(io)
    module.at_step = {3: lambda: (land(flying), io.gate.clear()), 5: io.gate.set}
    callback = ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2, save_last="link")
    wrong: list[Any] = []

    def look() -> None:  # the file of step 4 is being written: that of step 2 and the link to it have to be there
        if os.readlink("out/last.ckpt") != "step=2.ckpt" or "step=2.ckpt" not in names():
            wrong.append(names())

    module.at_step[4] = look
    fit(module, callback, flying, steps=6, logger=Logger())
    assert not wrong
    assert io.events == [
        *("saved step=2", "heard step=2"),
        *("saved step=4", "heard step=4", "removed step=2"),
        *("saved step=6", "heard step=6", "removed step=4"),
    ]
    assert names() == ["last.ckpt", "step=6.ckpt"] and os.readlink("out/last.ckpt") == "step=6.ckpt"


@pytest.mark.parametrize(
    ("every", "done", "kept"),
    [({"every_n_train_steps": 4}, 10, "step=8.ckpt"), ({"every_n_epochs": 1}, 12, "step=10.ckpt")],
)
def test_old_files_go_without_waiting_for_the_next_save(every: Any, done: int, kept: str) -> None:
    """At the end of a batch where batches trigger saves, else at the end of an epoch or, as here, a validation."""

    class Validates(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

        def val_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.ones(1)))

    io, module, seen = AsyncCheckpointIO(), Validates(), []
    module.at_step = {done - 1: lambda: land(io), done: lambda: seen.append(names())}
    callback = ModelCheckpoint(dirpath="out", filename="{step}", save_on_train_epoch_end=True, **every)
    fit(module, callback, io, steps=13, val_check_interval=2)
    assert seen == [[kept]]


@pytest.mark.parametrize("monitor", [None, "val"])
@pytest.mark.parametrize("last", [True, "link", None])
@pytest.mark.parametrize("fails_at", [2, 6, 10])
def test_a_file_that_failed_is_not_claimed_and_costs_no_other(monitor: Any, last: Any, fails_at: int) -> None:
    """The error ends the run, at the latest with its last step."""
    io = Noting()
    module = Net(values=range(20, 0, -1))
    flying = AsyncCheckpointIO(io)
    module.at_step = {fails_at - 1: lambda: (land(flying), setattr(io, "failures", 99))}
    callback = ModelCheckpoint(dirpath="out", monitor=monitor, every_n_train_steps=2, save_last=last)
    with pytest.raises(CheckpointNotSavedError, match="No space left"):
        fit(module, callback, flying, steps=10)
    claimed = {*callback.best_k_models, callback.best_model_path, callback.last_model_path} - {""}
    assert {os.path.basename(path) for path in claimed} == set(names())
    steps = {torch.load(f"out/{name}", weights_only=True)["global_step"] for name in names()}
    assert steps == ({fails_at - 2} if fails_at > 2 else set())


def test_after_a_file_that_failed_an_emergency_save_is_tried_anew() -> None:
    io, module = Noting(), Net()
    io.failures = 1
    callback = ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2, save_on_exception=True)
    with pytest.raises(CheckpointNotSavedError):
        fit(module, callback, AsyncCheckpointIO(io), steps=2)
    assert names() == ["step=2.ckpt"] and callback._last_checkpoint_saved.endswith("step=2.ckpt")


def test_a_run_that_fails_waits_for_its_file() -> None:
    io, module = Noting(), Net()

    def fail() -> None:
        threading.Timer(0.1, io.gate.set).start()
        raise KeyError("mine")

    module.at_step = {1: io.gate.clear, 3: fail}
    callback = ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2)
    with pytest.raises(KeyError, match="mine"):
        fit(module, callback, AsyncCheckpointIO(io))
    assert io.events == ["saved step=2"] and callback.best_model_path == os.path.realpath("out/step=2.ckpt")


def test_a_run_that_fails_says_what_else_failed() -> None:
    io, module = Noting(), Net()

    def fail() -> None:
        io.gate.set()
        raise KeyError("mine")

    io.failures = 1
    io.gate.clear()
    module.at_step = {3: fail}
    callback = ModelCheckpoint(dirpath="out", every_n_train_steps=2)
    with pytest.raises(KeyError, match="mine"), pytest.warns(UserWarning, match="(?s)a save was under way.*No space"):
        fit(module, callback, AsyncCheckpointIO(io))
    assert callback.best_model_path == "" and names() == []


def test_what_the_run_saved_last_can_be_used_at_once() -> None:
    class Tested(Net):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("steps", float(self.trainer.ckpt_path.endswith("step=4.ckpt")))

    module = Tested()
    callback = ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2)
    trainer = fit(module, callback, AsyncCheckpointIO(), steps=4)
    assert trainer.test(module, DataLoader(TensorDataset(torch.ones(1))), ckpt_path="best") == [{"steps": 1}]


# Processes

SCRIPT = """
import warnings; warnings.simplefilter("ignore")
import os, resource, sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
from fulmen import LightningModule, Trainer
from fulmen.callbacks import ModelCheckpoint
from fulmen.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

class Net(LightningModule):  # all its weights are the number of steps
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(500_000))
    def training_step(self, batch, batch_idx):
        return -self.weight.sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)
    def on_train_batch_end(self, *args):
        at_step(self.global_step)

def run(callback, io, **flags):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                      callbacks=[callback], plugins=[io], **flags)
    trainer.fit(Net(), DataLoader(TensorDataset(torch.ones(50, 1))))
"""

FULL = """
def at_step(step):
    if step == 3:  # once the first file is there, others end early, as on a disk that is full
        while not os.path.exists("out/step=2.ckpt"):
            time.sleep(0.001)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
run(ModelCheckpoint(dirpath="out", filename="{step}", every_n_train_steps=2), AsyncCheckpointIO(), max_steps=EVERY)
"""


@pytest.mark.parametrize("steps", [4, 20])
def test_a_process_whose_disk_is_full_does_not_end_with_0(steps: int) -> None:
    """Whether the file that fails is the last of the run or not."""
    code = SCRIPT + FULL.replace("EVERY", str(steps))
    ended = warm.run(code, cwd=Path.cwd())
    assert ended.returncode == 1
    assert "step=4.ckpt" in ended.stderr and "What to do" in ended.stderr and "File too large" in ended.stderr
    assert names() == ["step=2.ckpt"]
    torch.load("out/step=2.ckpt", weights_only=True)


KILLED = """
import random, signal
counts = {"save_last=True": dict(save_last=True), "link": dict(save_last="link"), "top 2": dict(
    monitor="step", mode="max", save_top_k=2)}
folder, times, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

class Noting(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        os.write(notes, f"saved {checkpoint['global_step']}\\n".encode())

def at_step(step):  # after the callbacks' turn
    os.write(notes, f"step {step}\\n".encode())

notes = os.open(os.devnull, os.O_WRONLY)
run(ModelCheckpoint(dirpath=f"{folder}/warm"), AsyncCheckpointIO(Noting()), max_steps=1)  # imports what runs need
draw = random.Random(seed)
for number in range(times):
    kept = list(counts)[number % len(counts)]
    place = f"{folder}/{number}"
    os.makedirs(place)
    notes = os.open(f"{place}/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = os.fork()
    if child == 0:
        run(ModelCheckpoint(dirpath=f"{place}/out", filename="{step}", every_n_train_steps=3, **counts[kept]),
            AsyncCheckpointIO(Noting()), max_epochs=-1)
    while b"step" not in open(f"{place}/notes", "rb").read():
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.4))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_a_killed_process_leaves_the_newest_complete_file(tmp_path: Path) -> None:
    """At most two intervals are lost: that of the file in the making, and the one that waits for it."""
    times, seed = (100 if SOAK else 10), random.Random(7).randrange(10**6)
    ended = warm.run(SCRIPT + KILLED, str(tmp_path), str(times), str(seed), cwd=tmp_path, timeout=600)
    assert ended.returncode == 0, ended.stderr
    interrupted = 0
    for number in range(times):
        place = tmp_path / str(number)
        notes = [line.split() for line in (place / "notes").read_text().splitlines()]
        done = max(int(step) for what, step in notes if what == "step")
        proven = max((int(step) for what, step in notes if what == "saved"), default=0)
        found = {name: _step_in(place / "out" / name) for name in names(place / "out") if name.endswith(".ckpt")}
        newest = max(found.values(), default=0)
        assert proven <= newest <= done + 1 and done - newest <= 2 * 3, (notes[-9:], found)
        files = {name for name in found if name.startswith("step")}
        once = len({step for what, step in notes if what == "saved"})
        assert len(files) >= min(once, 2 if number % 3 == 2 else 1)
        interrupted += any(place.glob("out/.*.part"))
    print(f"{interrupted} of {times} were killed while they wrote")


def _step_in(path: Path) -> int:
    """The step of a checkpoint, every weight of which has to be of that step."""
    checkpoint = torch.load(path, weights_only=True)
    step = int(checkpoint["global_step"])
    assert bool((checkpoint["state_dict"]["weight"] == step).all()), path
    return step
