"""A warm process that forks runs, each in a session of its own, and sends them a signal at a given moment.

It reads orders as lines of JSON and answers each with the run's exit status. What a run does it writes to files, so
that nothing is lost with it: the ids of its samples, line by line, and at the end its weights, states and values.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.core.module import LightningModule
from fulmen.trainer.trainer import Trainer

BATCHES, SIZE, EPOCHS, CHECKS = 8, 2, 2, 3
EVENTS = 2 + EPOCHS * (BATCHES + 2 * CHECKS)  # the sanity check, and in each epoch two validations
STEP = 0.004


class Samples(Dataset[Any]):
    """Numbers with their ids, changed at random, as an augmentation does."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return self.batches * SIZE

    def __getitem__(self, index: int) -> Any:
        return index, torch.full((3,), float(index)) / 16 + torch.rand(3) + random.random()


class Net(LightningModule):
    """Has everything that a resume can get wrong: dropout, a buffer, momentum, a schedule, values of an epoch."""

    def __init__(self, folder: Path, shared: mmap.mmap) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.ids = os.open(folder / "ids", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.shared = shared

    def _seen(self, kind: str, batch: Any) -> None:
        """Notes the samples of a batch that is done; only what is done counts, and a batch is done or it is not."""
        if not self.trainer.sanity_checking:
            os.write(self.ids, f"{kind} {batch[0].tolist()}\n".encode())

    def _tick(self) -> None:
        self.shared[:4] = struct.pack("i", struct.unpack("i", self.shared[:4])[0] + 1)
        time.sleep(STEP)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._tick()
        loss: Tensor = self.layers(batch[1]).pow(2).mean()
        self.log("train", loss, on_step=True, on_epoch=True)
        self._seen("train", batch)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._tick()
        self.log("val", self.layers(batch[1]).mean() + torch.rand(()))
        self._seen("val", batch)

    def on_train_end(self) -> None:
        self.shared[4:8] = struct.pack("i", 1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(folder: Path, order: dict[str, Any], shared: mmap.mmap) -> None:
    """One run, or what is left of it."""
    warnings.filterwarnings("ignore", message=".*(is not empty|no checkpoint was found|log_every_n_steps).*")
    torch.manual_seed(1)
    random.seed(1)
    module = Net(folder, shared)
    workers = {"num_workers": order["workers"], "persistent_workers": order["workers"] > 0 and order["persistent"]}
    saves = ModelCheckpoint(folder / "saved", monitor="val", save_last=True)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[saves],
        max_epochs=EPOCHS, val_check_interval=0.5, log_every_n_steps=1,
        accumulate_grad_batches=order["accumulate"],
    )  # fmt: skip
    loader = DataLoader(Samples(BATCHES), SIZE, shuffle=True, **workers)  # type: ignore[arg-type]
    checks: DataLoader[Any] = DataLoader(Samples(CHECKS), SIZE, **workers)  # type: ignore[arg-type]
    trainer.fit(module, loader, checks, ckpt_path="last")
    optimizer, schedule = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
    final = {
        "weights": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "values": dict(trainer.callback_metrics),
        "best": saves.best_model_score,
        "counts": [trainer.global_step, trainer.current_epoch],
        "random": [torch.rand(3), random.random()],
    }
    torch.save(final, folder / "final.pt")


def _hit(child: int, order: dict[str, Any], shared: mmap.mmap) -> bool:
    """Sends the signal when the run has come so far.

    Returns:
        Whether it was in time.
    """
    while struct.unpack("i", shared[:4])[0] < order["event"]:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.0003)
    time.sleep(order["delay"])
    if struct.unpack("i", shared[4:8])[0]:
        return False
    number = getattr(signal, order["signal"])
    (os.killpg if order["group"] else os.kill)(child, number)
    return True


def serve() -> None:
    """Takes orders until there are no more. A child leaves this function to train, and ends as any program does."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # imports what a run needs
        train(Path(folder), {"workers": 0, "accumulate": 1, "persistent": False}, mmap.mmap(-1, 8))
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["folder"])
        shared = mmap.mmap(-1, 8)
        child = os.fork()
        if child == 0:
            os.setsid()
            with open(folder / "output", "ab") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            train(folder, order, shared)
            return
        hit = bool(order.get("signal")) and _hit(child, order, shared)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "hit": hit}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
    serve()
