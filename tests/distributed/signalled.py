"""A rank of a run that is stopped by a signal: started as a program of its own by `test_signals.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import fulmen as pl


class Numbers(Dataset[Tensor]):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(float(index))


class Model(pl.LightningModule):
    """Notes which samples it was given, and sends the signal itself where it is told to."""

    def __init__(self, rank: int, kill: tuple[int, str, int] | None, number: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.rank, self.kill, self.number = rank, kill, number
        self.samples: list[tuple[int, list[int]]] = []
        self.validations = 0

    def at(self, where: str, count: int) -> None:
        if self.kill == (self.rank, where, count) and not self.trainer.sanity_checking:
            os.kill(os.getpid(), self.number)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.at("step", self.trainer.progress.batches)
        self.samples.append((self.current_epoch, batch.long().tolist()))
        return (self.weight - batch).pow(2).mean()

    def on_train_batch_end(self, *args: Any) -> None:
        self.at("between", self.trainer.progress.batches)

    def on_validation_start(self) -> None:
        self.validations += not self.trainer.sanity_checking

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.at("validation", batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(settings: dict[str, Any]) -> None:
    rank, folder = int(os.environ["LOCAL_RANK"]), Path(settings["folder"])
    warnings.simplefilter("ignore")
    kill = tuple(settings["kill"]) if settings.get("kill") else None
    model = Model(rank, kill, settings.get("signal", signal.SIGTERM))
    checkpoint = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=1000)
    trainer = pl.Trainer(
        accelerator="cpu", devices=settings["world"], strategy="ddp", max_epochs=2, callbacks=[checkpoint],
        logger=False, enable_progress_bar=False, enable_model_summary=False, val_check_interval=3, limit_val_batches=3,
        default_root_dir=str(folder), plugins=_slurm(settings),
    )  # fmt: skip
    code = 0
    try:
        trainer.fit(model, DataLoader(Numbers(), 2, shuffle=True), DataLoader(Numbers(), 2), ckpt_path=settings["path"])
    except SystemExit as error:
        code = int(error.code or 0)
        raise
    finally:
        files = sorted(str(file) for file in folder.glob("*.ckpt"))
        told = {
            "samples": model.samples, "batches": trainer.progress.batches, "steps": trainer.global_step, "files": files,
            "phase": trainer.progress.phase, "code": code, "weight": float(model.weight), "saved": trainer._ckpt_path,
            "validations": model.validations,
        }  # fmt: skip
        (folder / f"{settings['name']}-{rank}.json").write_text(json.dumps(told))


def _slurm(settings: dict[str, Any]) -> Any:
    if not settings.get("slurm"):
        return None

    class Cluster(pl.plugins.LightningEnvironment):
        """Starts jobs again, as SLURM does."""

        auto_requeue = True
        requeue_signal = signal.SIGUSR1

        @staticmethod
        def detect() -> bool:
            return True

    return [Cluster()]


def in_group(settings: dict[str, Any]) -> dict[str, Any]:
    """The same in a process that lives on."""
    with contextlib.suppress(SystemExit):
        main(settings)
    found: dict[str, Any] = json.loads(
        (Path(settings["folder"]) / f"{settings['name']}-{os.environ['LOCAL_RANK']}.json").read_text()
    )
    return found


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
