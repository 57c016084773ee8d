"""A program that trains, is killed at a random moment, and goes on, again and again: run by ``test_kills.py``.

The processes that are killed are forked from one that has loaded everything, so that a kill costs little.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from tests.runs import QUIET, Net, data
from torch import nn

from fulmen.callbacks.callback import Callback
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.store import load
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.trainer.trainer import Trainer

EVERY = 3  # steps between saves
STEP, STARTED, LEFTOVERS = range(3)


class Shared:
    """Numbers that a process and those forked from it see; they outlive a kill."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 64)

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("<q", self._memory, 8 * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("<q", self._memory, 8 * index, value)


class Watch(Callback):
    """Tells at which step training begins, how far it has come, and whether anything was left half written."""

    def __init__(self, shared: Shared, root: Path) -> None:
        self.shared, self.root = shared, root

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.shared[LEFTOVERS] = len(list(self.root.rglob("*.part")))
        self.shared[STEP] = trainer.global_step
        self.shared[STARTED] = trainer.global_step + 1

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.shared[STEP] = trainer.global_step


class Wide(Net):
    """Large enough for a save to take most of the time."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = nn.Linear(400, 500)


def train(root: Path, shared: Shared, save_last: Any, counted: bool, steps: int = -1) -> None:
    where = None if counted else root / "checkpoints"
    checkpoint = ModelCheckpoint(where, every_n_train_steps=EVERY, save_last=save_last)
    flags = {**QUIET, "max_epochs": -1, "max_steps": steps, "enable_checkpointing": True}
    flags["logger"] = CSVLogger(root) if counted else False
    trainer = Trainer(callbacks=[Watch(shared, root), checkpoint], **flags)
    trainer.fit(Wide(), data(1000), ckpt_path="last")


def start(root: Path, shared: Shared, errors: Path, *options: Any, steps: int = -1) -> int:
    """Trains in a process of its own, and returns its number."""
    shared[STARTED], shared[LEFTOVERS] = 0, -1
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    try:
        train(root, shared, *options, steps=steps)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def newest(root: Path, known: dict[Any, int]) -> int:
    """The step of the newest save; fails where a file is torn. Those that have not changed are known."""
    found = {(path, path.stat().st_mtime_ns, path.stat().st_ino): path for path in root.rglob("*.ckpt")}
    known.update({key: load(path)["global_step"] for key, path in found.items() if key not in known})
    return max((known[key] for key in found), default=0)


def check_start(shared: Shared, expected: int, reached: int) -> None:
    """What must hold when a run goes on: nothing torn, nothing left, no more lost than between two saves."""
    resumed = shared[STARTED] - 1
    assert resumed == expected, f"went on from step {resumed}, and {expected} was saved"
    assert reached - resumed <= EVERY, f"{reached - resumed} steps lost"
    assert shared[LEFTOVERS] == 0, f"{shared[LEFTOVERS]} files were left half written"


def main() -> None:
    root, kills, seed, counted = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    draw, shared, errors = random.Random(seed), Shared(), Path(os.environ["TMPDIR"], "errors")
    train(root / "warm", shared, True, False, steps=1)  # loads what is loaded late
    began = time.monotonic()
    train(root / "timed", shared, True, False, steps=EVERY)
    span = max(0.06, 2 * (time.monotonic() - began))  # a kill comes within about two saves, however slow the disk is
    root = root / "run"
    known: dict[Any, int] = {}
    torn = started = reached = expected = 0
    for _ in range(kills):
        child = start(root, shared, errors, draw.choice([True, "link"]), bool(counted))
        if draw.random() < 0.85:
            while not shared[STARTED]:
                time.sleep(0.001)
                assert os.waitpid(child, os.WNOHANG) == (0, 0), errors.read_text()
        time.sleep(draw.uniform(0, span))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), errors.read_text()
        if shared[STARTED]:
            started += 1
            check_start(shared, expected, reached)
            reached = shared[STEP]
        torn += any(root.rglob("*.part"))
        expected = newest(root, known)
    last = start(root, shared, errors, True, bool(counted), steps=expected + 1)
    assert os.waitpid(last, 0)[1] == 0, errors.read_text()
    check_start(shared, expected, reached)
    print(json.dumps({"started": started, "in a save": torn, "steps": reached}))


if __name__ == "__main__":
    main()
