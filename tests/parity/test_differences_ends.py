"""Rows of ``docs/differences.md`` on runs that are ended from outside, or by an error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests import warm

from .differing import both, model, quiet, rows, trainer

SCRIPT = """
import os, signal, sys, warnings
warnings.filterwarnings("ignore")
import importlib
import torch
pl = importlib.import_module(sys.argv[1])

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            os.kill(os.getpid(), getattr(signal, sys.argv[2]))
        print("step", batch_idx, flush=True)
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

saving = pl.callbacks.ModelCheckpoint("saved", every_n_train_steps=1000)
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[saving],
)
trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(16, 2), 2))
"""


def run(pl: ModuleType, folder: Path, signal: str, **environment: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    modules = ("torch", "fulmen", "pytorch_lightning")
    return warm.run(SCRIPT, pl.__name__, signal, cwd=folder, env={**os.environ, **environment}, modules=modules)


def test_sigterm(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 46. What asked the process to end learns whether it ended before its time."""
    theirs, ours = (run(pl, tmp_path / pl.__name__, "SIGTERM") for pl in (lightning, fulmen))
    assert (theirs.returncode, ours.returncode) == (0, 143), ours.stderr
    assert not list((tmp_path / lightning.__name__).rglob("*.ckpt"))
    assert len(list((tmp_path / fulmen.__name__).rglob("*.ckpt"))) == 1


def test_a_window_that_failed(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 47. Of windows of three batches the second fails in its second: batches 3 to 5 are due again."""

    def resumed(pl: Any) -> list[int]:
        seen: list[int] = []

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if fails and batch_idx == 4:
                raise KeyError("wanted")
            seen.append(int(batch[0, 0]) // 2)
            return self.layer(batch).mean()

        def fit(start: Path | None) -> None:
            saving = pl.callbacks.ModelCheckpoint(folder, save_on_exception=True, every_n_train_steps=1000)
            module = model(pl, training_step=training_step)
            data = torch_loader()
            trainer(pl, max_epochs=1, accumulate_grad_batches=3, callbacks=[saving]).fit(module, data, ckpt_path=start)

        folder = tmp_path / pl.__name__
        fails = True
        with pytest.raises(KeyError), quiet():
            fit(None)
        fails = False
        seen.clear()
        (path,) = folder.rglob("*.ckpt")
        fit(path)
        return seen

    theirs, ours = both(lightning, fulmen, resumed)
    assert ours == [3, 4, 5, 6, 7]
    assert theirs != ours


def torch_loader() -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(rows(16), 2)  # type: ignore[arg-type]


def test_a_job_that_slurm_starts_again(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 48. After the file for the next start was written, no step is made that it does not hold."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text("#!/bin/sh\nexit 0\n")
    scontrol.chmod(0o755)
    job = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost", "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
    }  # fmt: skip
    theirs, ours = (run(pl, tmp_path / pl.__name__, "SIGUSR1", **job) for pl in (lightning, fulmen))
    for pl in (lightning, fulmen):
        assert list((tmp_path / pl.__name__).rglob("hpc_ckpt_1.ckpt")), (theirs.stderr, ours.stderr)
    assert theirs.stdout.splitlines()[-1] == "step 7"
    assert ours.stdout.splitlines()[-1] == "step 2"
    assert (theirs.returncode, ours.returncode) == (0, 143)
