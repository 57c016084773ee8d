"""The progress of a run as PyTorch Lightning 2.x keeps it in a checkpoint, from ours and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fulmen.utilities.imports import at_least


def _counts(count: int, *names: str) -> dict[str, int]:
    return dict.fromkeys(names, count)


def _progress(total: int, current: int, *names: str) -> dict[str, Any]:
    return {"total": _counts(total, *names), "current": _counts(current, *names)}


_STEPS = ("ready", "completed")
_STARTS = ("ready", "completed", "started")
_BATCHES = ("ready", "completed", "started", "processed")


def _idle(last: bool = True) -> dict[str, Any]:
    """The entry of a loop that does not run."""
    flag = {"is_last_batch": False} if last else {}
    return {"state_dict": {}, "batch_progress": {**_progress(0, 0, *_BATCHES), **flag}}


def loops_of(progress: Mapping[str, Any]) -> dict[str, Any]:
    """The entry ``"loops"`` with which Lightning 2.6 goes on where a run of ours stopped.

    Args:
        progress: Our counts, as ``Progress.state_dict`` gives them.

    Returns:
        The entry. Optimizer steps stand under automatic and under manual optimization, of which Lightning reads the one
        that its module uses. It counts schedulers' steps and steps within the epoch too, and never reads them.
    """
    epoch, batch, done = progress["epoch"], progress["batch"], progress["epoch_done"]
    batches, steps = progress["batches"], progress["steps"]
    running = batch > 0 or done
    epochs = {
        "ready": epoch + running,
        "completed": epoch,
        "started": epoch + running,
        "processed": epoch + done,  # the epoch's end is behind it, and is not called again
    }
    fit = {
        "state_dict": {},
        "epoch_loop.state_dict": {"_batches_that_stepped": progress["windows"]},
        "epoch_loop.batch_progress": {**_progress(batches, batch, *_BATCHES), "is_last_batch": done},
        "epoch_loop.scheduler_progress": _progress(0, 0, *_STEPS),
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {"step": _progress(steps, 0, *_STEPS), "zero_grad": _progress(steps, 0, *_STARTS)}
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": _progress(steps, 0, *_STEPS),
        "epoch_progress": {"total": epochs, "current": dict(epochs)},
    }
    fit.update((f"epoch_loop.val_loop.{key}", value) for key, value in _idle().items())
    return {"fit_loop": fit, "validate_loop": _idle(), "test_loop": _idle(), "predict_loop": _idle(last=False)}


def progress_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Our counts for a checkpoint that Lightning 2.x wrote.

    Args:
        checkpoint: The checkpoint.

    Returns:
        What ``Progress.load_state_dict`` takes. Of a file without the entry ``"loops"`` only the epoch and the step are
        known: it counts as saved at that epoch's end.
    """
    epoch, steps = int(checkpoint.get("epoch", 0)), int(checkpoint.get("global_step", 0))
    fit = checkpoint.get("loops", {}).get("fit_loop")
    if not fit:
        return {"epoch": epoch, "batch": 0, "batches": 0, "steps": steps, "windows": steps, "epoch_done": True}
    batches, epochs = fit["epoch_loop.batch_progress"], fit["epoch_progress"]["current"]
    manual = fit["epoch_loop.manual_optimization.optim_step_progress"]["total"]["completed"]
    automatic = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    done = int(batches["total"]["processed"])
    between = epochs["ready"] == epochs["completed"]  # after the last epoch: the next one has not begun
    counted = 0
    if between and _is_in_epoch(checkpoint, batches, epochs):
        between, counted = False, 1
    return {
        "epoch": int(epochs["completed"]) - counted,
        "batch": 0 if between else int(batches["current"]["processed"]),
        "batches": done,
        "steps": steps,
        "windows": _windows(fit, manual, automatic, done),
        "epoch_done": not between and bool(batches["is_last_batch"] or epochs["processed"] > epochs["completed"]),
    }


def _is_in_epoch(checkpoint: Mapping[str, Any], batches: Mapping[str, Any], epochs: Mapping[str, Any]) -> bool:
    """Whether a file of version 1.5, which says of each epoch that it is over, is of the midst of one."""
    version = checkpoint.get("legacy_pytorch-lightning_version")
    if not isinstance(version, str) or at_least(version, "1.6.0") or "is_last_batch" not in batches:
        return False
    return (
        not batches["is_last_batch"]
        and epochs["processed"] < epochs["completed"]
        and batches["current"]["processed"] > 0
    )


def _windows(fit: Mapping[str, Any], manual: int, automatic: int, batches: int) -> int:
    if manual and automatic:  # `loops_of` made the entry
        return int(fit["epoch_loop.state_dict"]["_batches_that_stepped"])
    # Lightning's own count is one behind in a file that is saved before the batch is over
    return batches if manual else int(automatic)
