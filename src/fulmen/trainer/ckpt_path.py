"""Which checkpoint a run starts from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fulmen.checkpoint.io import join
from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredValue
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import TrainerFn

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def find_checkpoint(trainer: Trainer, ckpt_path: Any, fn: TrainerFn, model_given: bool) -> str | None:
    """Resolves ``ckpt_path``.

    Args:
        trainer: Whose checkpoint callbacks are asked for ``"best"`` and ``"last"``.
        ckpt_path: A path, ``"best"``, ``"last"``, or None. None without a model, after a `fit`, means the best.
        fn: Which method was called.
        model_given: Whether it was called with a model.

    Returns:
        The path, or None to start from the model as it is.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If there is no best checkpoint.
    """
    join(trainer.strategy.checkpoint_io)  # a file that is still being written is one to be found
    saved = next((cb.best_model_path for cb in trainer.checkpoint_callbacks if getattr(cb, "best_model_path", "")), "")
    if ckpt_path is None:
        if model_given or fn == TrainerFn.FITTING or not saved:
            return None
        rank_zero_info(f"`Trainer.{fn.value}` was called without a model, so the best checkpoint is used: {saved}")
        return str(saved)
    if ckpt_path == "best":
        return _best(trainer, fn)
    if ckpt_path == "last":
        return _last(trainer, fn)
    path = str(os.fspath(ckpt_path))
    if "://" not in path and not os.path.exists(path):
        raise FileNotFoundError(
            f"There is no checkpoint at {path!r}.\nWhat to do: check the path; `trainer.checkpoint_callback"
            ".best_model_path` and `.last_model_path` name the files that a run has written."
        )
    return path


def check_checkpoint(checkpoint: Any, path: str) -> None:
    """Raises unless a file that was read holds a checkpoint.

    Args:
        checkpoint: What was read.
        path: Where it was read from, for the error text.

    Raises:
        MisconfigurationException: If it is something else, such as weights alone.
    """
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        keys = f" with the keys {list(checkpoint)[:5]}" if isinstance(checkpoint, dict) else ""
        raise MisconfigurationException(
            f"A checkpoint is a dictionary with the key 'state_dict', and `{path}` is none.",
            got=f"a {type(checkpoint).__name__}{keys}",
            fix="Pass a file that a `ModelCheckpoint` or `trainer.save_checkpoint` wrote. If it holds weights alone: "
            "`model.load_state_dict(torch.load(path))`, and leave out `ckpt_path`.",
        )


def _best(trainer: Trainer, fn: TrainerFn) -> str:
    if trainer.fast_dev_run:
        raise MisconfiguredValue(
            "`fast_dev_run` writes no checkpoints, so there is no best one.",
            got=f'.{fn.value}(ckpt_path="best")',
            fix="Leave out `ckpt_path`, or `fast_dev_run`.",
        )
    callbacks = trainer.checkpoint_callbacks
    if not callbacks:
        raise MisconfiguredValue(
            "Only a `ModelCheckpoint` knows the best checkpoint, and this Trainer has none.",
            got=f'.{fn.value}(ckpt_path="best")',
            fix='`Trainer(callbacks=[ModelCheckpoint(monitor="val_loss")])`, or pass a path.',
        )
    if len(callbacks) > 1:
        rank_zero_warn('`ckpt_path="best"` with several checkpoint callbacks takes the best of the first.')
    best = getattr(callbacks[0], "best_model_path", "")
    if not best:
        raise MisconfiguredValue(
            "No checkpoint was saved yet, so there is no best one.",
            got=f'.{fn.value}(ckpt_path="best")',
            fix="Call `trainer.fit` first, see that `save_top_k` is not 0, or pass a path.",
        )
    return str(best)


def _last(trainer: Trainer, fn: TrainerFn) -> str | None:
    candidates = []
    for callback in trainer.checkpoint_callbacks:
        candidates += [path for path in callback._find_last_checkpoints(trainer) if os.path.exists(path)]
    if not candidates:
        rank_zero_warn(
            f'`.{fn.value}(ckpt_path="last")`: no checkpoint was found, so the run starts from the model as it is.'
        )
        return None
    return str(max(candidates, key=os.path.getmtime))
