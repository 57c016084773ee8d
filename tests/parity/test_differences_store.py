"""Rows of ``docs/differences.md`` on how a checkpoint gets to disk, and which one a run goes on from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .differing import batches, both, model, trainer

FULL = """
import ctypes, os, shutil, sys, warnings
warnings.simplefilter("ignore")
import torch
pl = __import__(sys.argv[1])
from tests.parity.differing import batches, model, trainer
folder, kept = os.path.abspath("run"), os.path.abspath("kept.ckpt")
path = os.path.join(folder, "a.ckpt")
os.mkdir(folder)
going = trainer(pl)
going.fit(model(pl), batches(1))
going.save_checkpoint(path)
shutil.copy(path, kept)
shim, call, lost, seen = ctypes.CDLL(None), 0, 0, 0
while seen >= call:
    call += 1
    shutil.copy(kept, path)
    shim.fault_arm(os.fsencode(folder), ctypes.c_long(call), 28, 1)
    try:
        going.save_checkpoint(path)
    except OSError:
        pass
    seen = shim.fault_disarm()
    try:
        torch.load(path, weights_only=False)
    except Exception:
        lost += 1
assert call > 10, call
print(lost)
"""

pytestmark = pytest.mark.filterwarnings("ignore")


def _train(pl: Any, folder: Path | None, epochs: int, path: Any = None, **flags: Any) -> Any:
    saving = pl.callbacks.ModelCheckpoint(folder, save_last=True, save_top_k=-1)
    going = trainer(pl, callbacks=[saving], max_epochs=epochs, **flags)
    going.fit(model(pl), batches(2), ckpt_path=path)
    return going


def test_a_flipped_bit(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 42. A weight is read that nobody wrote."""

    def read(pl: Any) -> Any:
        module = model(pl)
        path = tmp_path / f"{pl.__name__}.ckpt"
        going = trainer(pl)
        going.fit(module, batches(1))
        going.save_checkpoint(path)
        content, weight = bytearray(path.read_bytes()), module.layer.weight.detach().numpy().tobytes()
        content[content.index(weight) + 3] ^= 0x40
        path.write_bytes(content)
        again = trainer(pl, max_epochs=2)
        other = model(pl)
        try:
            again.fit(other, batches(1), ckpt_path=path)
        except Exception as error:
            return type(error).__name__
        return "read"

    theirs, ours = both(lightning, fulmen, read)
    assert theirs == "read"
    assert ours == "DamagedCheckpointError"


def test_the_last_one_is_torn(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 43. The newest file was cut short."""

    def resumed(pl: Any) -> Any:
        folder = tmp_path / pl.__name__
        _train(pl, folder, 2)
        last = folder / "last.ckpt"
        last.write_bytes(last.read_bytes()[:1000])
        try:
            return os.path.basename(_train(pl, folder, 3, "last").ckpt_path)
        except Exception as error:
            return type(error).__name__

    theirs, ours = both(lightning, fulmen, resumed)
    assert theirs == "RuntimeError"
    assert ours == "epoch=1-step=4.ckpt"


def test_the_last_one_of_the_run_before(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 44. The logger opens a new version each time the script is started."""

    def steps(pl: Any) -> int:
        for epochs in (1, 2):
            logger = pl.loggers.CSVLogger(tmp_path / pl.__name__)
            going = _train(pl, None, epochs, "last", logger=logger, default_root_dir=tmp_path)
        return 2 * 2 - int(going.ckpt_path is not None) * 2

    theirs, ours = both(lightning, fulmen, steps)
    assert theirs == 4  # the second run trained both epochs
    assert ours == 2


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux, and a C compiler")
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs another disk for temporary files")
def test_a_full_disk(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 45. The only checkpoint is saved anew, temporary files lie on another disk, and space ends at some call.

    Counts the calls at which the file is lost.
    """
    top = Path(__file__).parents[2]
    source, shim = top / "tests/checkpoint/faults.c", tmp_path / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)

    def lost(pl: Any) -> int:
        where = tmp_path / pl.__name__
        where.mkdir()
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            env = {**os.environ, "LD_PRELOAD": str(shim), "TMPDIR": elsewhere}
            env["PYTHONPATH"] = os.pathsep.join([str(top), *filter(None, [env.get("PYTHONPATH")])])
            command = [sys.executable, "-c", FULL, pl.__name__]
            done = subprocess.run(command, env=env, cwd=where, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.splitlines()[-1])

    theirs, ours = both(lightning, fulmen, lost)
    assert theirs > 0
    assert ours == 0


def test_the_best_one_of_the_run_before(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    """Row 49. The second of six epochs is the best; the script is started again after the third."""
    losses = [0.5, 0.1, 0.6, 0.7, 0.8, 0.9]

    def best(pl: Any) -> float:
        def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", losses[self.current_epoch])

        def fit(epochs: int, start: str | None) -> Any:
            saving = pl.callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=2)
            logger = pl.loggers.CSVLogger(str(tmp_path / pl.__name__), name="logs")
            fitting = trainer(pl, max_epochs=epochs, callbacks=[saving], logger=logger)
            fitting.fit(model(pl, validation_step=validation_step), batches(2), batches(1), ckpt_path=start)
            fitting.save_checkpoint(tmp_path / f"{pl.__name__}.ckpt")
            return saving

        fit(3, None)
        return round(float(fit(6, str(tmp_path / f"{pl.__name__}.ckpt")).best_model_score), 3)

    theirs, ours = both(lightning, fulmen, best)
    assert ours == min(losses)
    assert theirs == 0.7
