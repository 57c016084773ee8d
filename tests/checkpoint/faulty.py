"""A program in which a system call fails, or is its last one: run by ``test_faults.py`` with ``faults.c`` loaded."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from tests.runs import QUIET, Net, data

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.checkpoint.folder import remove_leftovers
from fulmen.checkpoint.store import CheckpointSaveError, atomic_save, load
from fulmen.trainer.trainer import Trainer

KILL = -1
ADVICE = {
    errno.ENOSPC: "Free space there",
    errno.EIO: "Check the disk",
    errno.EACCES: "Let this user write to the folder",
}
KINDS = [(number, lasting) for number in ADVICE for lasting in (False, True)] + [(KILL, False)]
LONG = torch.arange(150_000)  # more than is buffered, so that it takes several writes

shim = ctypes.CDLL(None)
shim.fault_name.restype = ctypes.c_char_p


def arm(folder: Path, call: int, kind: int, lasting: bool) -> None:
    shim.fault_arm(os.fsencode(folder), ctypes.c_long(call), kind, int(lasting))


def called(count: int) -> list[str]:
    return [shim.fault_name(ctypes.c_long(call)).decode() for call in range(1, count + 1)]


def good(folder: Path) -> dict[str, Any]:
    """What the files of a folder hold; fails where one is not whole."""
    return {str(path.relative_to(folder)): load(path)["value"] for path in folder.rglob("*.ckpt")}


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def attempt(folder: Path, target: Path, call: int, kind: int, lasting: bool) -> tuple[int, CheckpointSaveError | None]:
    arm(folder, call, kind, lasting)
    error = None
    try:
        atomic_save({"value": "new", "long": LONG}, target)
    except CheckpointSaveError as failure:
        error = failure
    return shim.fault_disarm(), error


def save_with_faults(folder: Path, name: str) -> dict[str, int]:
    """Lets each call of a save fail in turn, in each way."""
    counts: dict[str, int] = {}
    for kind, lasting in KINDS:
        call, hit = 0, True
        while hit:
            call += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for first in ("a.ckpt", "b.ckpt"):
                atomic_save({"value": "old"}, folder / first)
            hit = _killed(folder, name, call) if kind == KILL else _failed(folder, name, call, kind, lasting)
        counts[f"{errno.errorcode.get(kind, 'KILL')}{' from then on' if lasting else ''}"] = call - 1
    return counts


def _failed(folder: Path, name: str, call: int, kind: int, lasting: bool) -> bool:
    seen, error = attempt(folder, folder / name, call, kind, lasting)
    where = f"{errno.errorcode[kind]} at call {call} of {called(seen)}"
    found = good(folder)
    if error is None:
        assert found.pop(name) == "new", where
        found.setdefault("a.ckpt", "old")
    else:
        assert error.errno == kind, where
        assert ADVICE[kind] in str(error) and "Earlier checkpoints are untouched." in str(error), (where, str(error))
        renamed = "rename" in called(seen)[: call - 1]
        assert found.pop(name, "old") == ("new" if renamed else "old"), where
        found.setdefault("a.ckpt", "old")
    assert found == {"a.ckpt": "old", "b.ckpt": "old"}, where
    if not lasting:
        assert not parts(folder), where
    remove_leftovers(str(folder), depth=2)
    assert not parts(folder), where
    return seen >= call


def _killed(folder: Path, name: str, call: int) -> bool:
    child = os.fork()
    if child == 0:
        attempt(folder, folder / name, call, KILL, False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    found = good(folder)
    assert found.pop(name, "old") in ("old", "new"), call
    assert found.setdefault("a.ckpt", "old") == found["b.ckpt"] == "old", call
    remove_leftovers(str(folder), depth=2)
    assert not parts(folder), call
    return os.WIFSIGNALED(status)


def train(folder: Path, steps: int) -> None:
    """Saves at each step, and goes on from what is there."""
    warnings.simplefilter("ignore")
    checkpoint = ModelCheckpoint(folder, every_n_train_steps=1, save_last=True)
    flags = {**QUIET, "max_epochs": -1, "max_steps": steps, "enable_checkpointing": True}
    Trainer(callbacks=[checkpoint], **flags).fit(Net(), data(8), ckpt_path="auto")


def newest(folder: Path) -> int:
    return max((load(path)["global_step"] for path in folder.rglob("*.ckpt")), default=0)


def in_a_child(folder: Path, errors: Path, steps: int, fault: Any = None, to_the_end: bool = False) -> int:
    """Trains in a process of its own. Returns its exit status.

    Args:
        folder: Of the checkpoints.
        errors: The file for what it prints.
        steps: How many.
        fault: What `arm` takes beside the folder.
        to_the_end: Whether the process ends as a script ends, which takes a second with all of torch in memory.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    if fault:
        arm(folder, *fault)
    try:
        train(folder, steps)
    except BaseException:
        if to_the_end:
            raise
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def fit_with_faults(folder: Path, samples: int) -> dict[str, int]:
    """Lets calls of a run fail: the second of three that go on from each other."""
    errors, draw = folder.with_suffix(".err"), random.Random(3)
    train(folder, 1)
    begun = folder.with_suffix(".begun")
    shutil.copytree(folder, begun)
    arm(folder, 0, 0, False)
    train(folder, 3)
    calls = shim.fault_disarm()
    stopped = 0
    for sample in range(samples):
        shutil.rmtree(folder)
        shutil.copytree(begun, folder)
        call, (kind, lasting) = draw.randint(1, calls), draw.choice(KINDS)
        status = in_a_child(folder, errors, 3, (call, kind, lasting), to_the_end=sample < 3)
        where = f"{kind} at call {call} of {calls}, status {status}: {errors.read_text()}"
        step = newest(folder)
        assert step >= 1, where
        assert status != 0 or step == 3, where
        if status:
            stopped += 1
            assert kind == KILL or "What to do: " in errors.read_text(), where
        status = in_a_child(folder, errors, 3)
        assert status == 0 and newest(folder) == 3, (where, status, errors.read_text())
        assert not parts(folder), where
    return {"calls": calls, "stopped": stopped}


def main() -> None:
    what, folder, argument = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    result = save_with_faults(folder, argument) if what == "save" else fit_with_faults(folder, int(argument))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
