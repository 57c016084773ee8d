"""How the layout of checkpoints changed from version to version of PyTorch Lightning, one function a change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from fulmen.utilities.rank_zero import rank_zero_warn

Checkpoint: TypeAlias = dict[str, Any]

_BATCHES = ("ready", "completed", "started", "processed")
_STEPS = ("ready", "completed")
_AUTOMATIC, _MANUAL = "epoch_loop.batch_loop.optimizer_loop", "epoch_loop.batch_loop.manual_loop"


def _progress(total: int, current: int, *names: str) -> dict[str, Any]:
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}


def early_stopping_and_best_file(checkpoint: Checkpoint) -> None:
    """States that lay at the top go to the callbacks whose they are."""
    moves = (
        ("ModelCheckpoint", "best_model_score", ("checkpoint_callback_best_model_score", "checkpoint_callback_best")),
        ("ModelCheckpoint", "best_model_path", ("checkpoint_callback_best_model_path",)),
        ("EarlyStopping", "wait_count", ("early_stop_callback_wait",)),
        ("EarlyStopping", "patience", ("early_stop_callback_patience",)),
    )
    for owner, name, keys in moves:
        for key in keys:
            if key in checkpoint:
                value = checkpoint.pop(key)
                checkpoint.setdefault("callbacks", {}).setdefault(owner, {})[name] = value


def names_of_callbacks(checkpoint: Checkpoint) -> None:
    """Classes as keys become the classes' names, so that a file can be read without them."""
    states = checkpoint.get("callbacks")
    if states:
        checkpoint["callbacks"] = {
            key.__qualname__ if isinstance(key, type) else key: state for key, state in states.items()
        }


def steps_and_epochs_in_loops(checkpoint: Checkpoint) -> None:
    """The steps of optimizers and the epoch, which were numbers at the top, become counts of the loops."""
    steps, epoch = int(checkpoint.get("global_step", 0)), int(checkpoint.get("epoch", 0))
    fit = checkpoint.setdefault("loops", {"fit_loop": {}}).setdefault("fit_loop", {})
    optimizer = fit.setdefault(f"{_AUTOMATIC}.optim_progress", {}).setdefault("optimizer", {})
    optimizer.setdefault("step", _progress(0, 0, *_STEPS))["total"]["completed"] = steps
    optimizer.setdefault("zero_grad", _progress(0, 0, "ready", "completed", "started"))
    manual = fit.setdefault(f"{_MANUAL}.optim_step_progress", _progress(0, 0, *_STEPS))
    manual["total"]["completed"] = steps
    fit.setdefault("epoch_loop.batch_progress", {**_progress(0, 0, *_BATCHES), "is_last_batch": False})
    # by then the number of an epoch was that of the next one, and nothing of that had begun
    epochs = fit.setdefault("epoch_progress", _progress(epoch, epoch, *_BATCHES))
    epochs["current"]["completed"] = epoch
    for name in ("epoch_loop", _AUTOMATIC, _MANUAL, "epoch_loop.val_loop"):
        fit.setdefault(f"{name}.state_dict", {})
    fit.setdefault("state_dict", {})
    fit.setdefault("epoch_loop.scheduler_progress", _progress(0, 0, *_STEPS))


def logged_steps(checkpoint: Checkpoint) -> None:
    """The number of batches that stepped, by which values are logged, begins at the number of steps."""
    fit = checkpoint.get("loops", {}).get("fit_loop")
    if fit is not None:
        fit.setdefault("epoch_loop.state_dict", {}).setdefault(
            "_batches_that_stepped", int(checkpoint.get("global_step", 0))
        )


def key_of_model_checkpoint(checkpoint: Checkpoint) -> None:
    """The key of a ``ModelCheckpoint`` no longer says when in an epoch it saves."""
    pattern = re.compile(r", 'save_on_train_epoch_end': (?:True|False|None)")
    states = checkpoint.get("callbacks") or {}
    found: dict[Any, list[Any]] = {}
    for key in states:
        named = isinstance(key, str) and key.startswith("ModelCheckpoint")
        found.setdefault(pattern.sub("", key) if named else key, []).append(key)
    clashing = sorted(str(new) for new, old in found.items() if len(old) > 1)
    if clashing:
        rank_zero_warn(
            f"Several `ModelCheckpoint` states of this checkpoint have one key now, {clashing[0]!r}, and only the last "
            "of them is kept. What to do: give the callbacks different monitors or intervals, so that each has its own."
        )
    if states:
        checkpoint["callbacks"] = {new: states[old[-1]] for new, old in found.items()}


def apex(checkpoint: Checkpoint) -> None:
    """The state of apex's scaler goes: apex is not used any more."""
    if checkpoint.pop("amp_scaling_state", None) is not None:
        rank_zero_warn(
            "The checkpoint holds the state of apex's loss scaler, which is left out. What to do: train on with "
            '`Trainer(precision="16-mixed")`, whose scaler finds its scale anew.'
        )


def one_loop_of_batches(checkpoint: Checkpoint) -> None:
    """The loop over optimizers, and that over parts of a batch, are gone; their counts move up."""
    fit = checkpoint.get("loops", {}).get("fit_loop")
    if fit is None:
        return
    fit.pop("epoch_loop.batch_loop.state_dict", None)
    renamed = {
        _AUTOMATIC: "epoch_loop.automatic_optimization",
        _MANUAL: "epoch_loop.manual_optimization",
        "epoch_loop.optimizer_loop": "epoch_loop.automatic_optimization",
        "epoch_loop.manual_loop": "epoch_loop.manual_optimization",
    }
    for key in list(fit):
        owner, _, name = key.rpartition(".")
        if owner in renamed:
            fit[f"{renamed[owner]}.{name}"] = fit.pop(key)
    progress = fit.setdefault("epoch_loop.automatic_optimization.optim_progress", {})
    progress.pop("optimizer_position", None)
    progress.setdefault("optimizer", {"step": _progress(0, 0, *_STEPS)})
    fit.setdefault("epoch_loop.manual_optimization.optim_step_progress", _progress(0, 0, *_STEPS))


def one_loop_of_loaders(checkpoint: Checkpoint) -> None:
    """Evaluation and prediction have one loop, and no longer one over loaders around one over batches."""
    loops = checkpoint.get("loops", {})
    fit = loops.get("fit_loop")
    for table, prefix in (
        (fit, "epoch_loop.val_loop."),
        *((loops.get(f"{name}_loop"), "") for name in ("validate", "test", "predict")),
    ):
        if table is None:
            continue
        table.pop(f"{prefix}dataloader_progress", None)
        table.pop(f"{prefix}epoch_loop.state_dict", None)
        if f"{prefix}epoch_loop.batch_progress" in table:
            table[f"{prefix}batch_progress"] = table.pop(f"{prefix}epoch_loop.batch_progress")


CHANGES: tuple[tuple[str, tuple[Callable[[Checkpoint], None], ...]], ...] = (
    ("0.10.0", (early_stopping_and_best_file,)),
    ("1.6.0", (names_of_callbacks, steps_and_epochs_in_loops)),
    ("1.6.5", (logged_steps,)),
    ("1.9.0", (key_of_model_checkpoint,)),
    ("2.0.0", (apex, one_loop_of_batches, one_loop_of_loaders)),
)
"""What changed in which version, in order."""
