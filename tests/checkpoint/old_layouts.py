"""Checkpoints as versions of Lightning from 1.0 to 2.6 wrote them, made of one of a run of ours by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

VERSIONS = ("1.0.8", "1.2.10", "1.4.9", "1.5.10", "1.6.5", "1.7.7", "1.8.6", "1.9.5", "2.0.9", "2.2.5", "2.6.6")
_HOMES = {"ModelCheckpoint": "model_checkpoint", "EarlyStopping": "early_stopping"}
_FIRST = ("best_model_score", "best_model_path")
_SECOND = (*_FIRST, "monitor", "current_score", "dirpath")
_BATCHES = ("ready", "completed", "started", "processed")


def before(version: str, other: str) -> bool:
    return tuple(map(int, version.split("."))) < tuple(map(int, other.split(".")))


def progress(total: int, current: int, *names: str) -> dict[str, Any]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}


def old_classes(patch: pytest.MonkeyPatch) -> dict[str, type]:
    """Lightning's classes, for as long as a file is written that has them as keys."""
    found = {}
    for name, home in _HOMES.items():
        module = ModuleType(f"pytorch_lightning.callbacks.{home}")
        found[name] = type(name, (), {"__module__": module.__name__})
        setattr(module, name, found[name])
        patch.setitem(sys.modules, module.__name__, module)
    return found


def callbacks(version: str, ours: dict[str, Any], classes: dict[str, type]) -> dict[Any, Any]:
    """The states of callbacks: under classes before 1.5, under bare names in it, under names with arguments since."""
    found: dict[Any, Any] = {}
    for key, state in ours.items():
        name, old = key.partition("{")[0], dict(state)
        if name == "EarlyStopping":
            old = {part: state[part] for part in ("wait_count", "stopped_epoch", "best_score", "patience")}
        elif before(version, "1.1.0"):
            old = {part: state[part] for part in _FIRST}
        elif before(version, "1.7.0"):  # the ranking came with 1.7
            old = {part: state[part] for part in _SECOND}
        if before(version, "1.5.0"):
            found[classes[name]] = old
        elif before(version, "1.6.0"):
            found[name] = old
        elif before(version, "1.9.0") and name == "ModelCheckpoint":
            found[key.replace("}", ", 'save_on_train_epoch_end': True}")] = old
        else:
            found[key] = old
    return found


def loops(version: str, epoch: int, batch: int, batches: int, steps: int, last: bool) -> dict[str, Any]:
    """The counts of loops, which 1.5 began to keep; 2.0 took two loops out from under their names.

    Args:
        version: The version.
        epoch: The epochs that were complete before the running one.
        batch: The batches done in the running epoch.
        batches: Those done in all.
        steps: The optimizers' steps.
        last: Whether the running epoch has had its last batch, and its hooks were called.
    """
    old = before(version, "2.0.0")
    inner = "epoch_loop.batch_loop.optimizer_loop" if old else "epoch_loop.automatic_optimization"
    manual = "epoch_loop.batch_loop.manual_loop" if old else "epoch_loop.manual_optimization"
    epochs = {"ready": epoch + 1, "completed": epoch, "started": epoch + 1, "processed": epoch + last}
    fit: dict[str, Any] = {
        "state_dict": {},
        "epoch_loop.state_dict": {} if before(version, "1.6.5") else {"_batches_that_stepped": steps},
        "epoch_loop.batch_progress": {**progress(batches, batch, *_BATCHES), "is_last_batch": last},
        "epoch_loop.scheduler_progress": progress(0, 0, "ready", "completed"),
        f"{inner}.state_dict": {},
        f"{inner}.optim_progress": {
            "optimizer": {
                "step": progress(steps, batch, "ready", "completed"),
                "zero_grad": progress(steps, batch, "ready", "completed", "started"),
            },
        },
        f"{manual}.state_dict": {},
        f"{manual}.optim_step_progress": progress(0, 0, "ready", "completed"),
        "epoch_progress": {"total": epochs, "current": dict(epochs)},
    }
    if old:
        fit["epoch_loop.batch_loop.state_dict"] = {}
        fit[f"{inner}.optim_progress"]["optimizer_position"] = 1
    return {"fit_loop": fit}


def write(path: Path, version: str, ours: dict[str, Any], **more: Any) -> None:
    """Writes a checkpoint of ours, of the midst or the end of an epoch, in the layout of a version.

    Until 1.5, ``epoch`` was the next one's number and ``global_step`` one more than the loop's count, which was that of
    the running step; since 1.6 both say what is done. Torch wrote no archives when 1.0 was new.
    """
    course = ours["fulmen"]["course"]["progress"]
    epoch, batch, last = course["epoch"], course["batch"], course["epoch_done"]
    content: dict[str, Any] = {
        "epoch": epoch + 1 if before(version, "1.6.0") else epoch,
        "global_step": course["steps"],
        "pytorch-lightning_version": version,
        "state_dict": ours["state_dict"],
        "optimizer_states": ours["optimizer_states"],
        "lr_schedulers": ours["lr_schedulers"],
        "hparams_name": "kwargs",
        "hyper_parameters": dict(ours.get("hyper_parameters", {})),
    }
    if not before(version, "1.5.0"):
        content["loops"] = loops(version, epoch, batch, course["batches"], course["steps"], last)
    with pytest.MonkeyPatch.context() as patch:
        content["callbacks"] = callbacks(version, ours.get("callbacks", {}), old_classes(patch))
        torch.save({**content, **more}, path, _use_new_zipfile_serialization=not before(version, "1.2.0"))
