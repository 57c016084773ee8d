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
    from fulmen.utilities.whole_files import Candidate


def find_checkpoint(trainer: Trainer, ckpt_path: Any, fn: TrainerFn, model_given: bool) -> str | None:
    """Resolves ``ckpt_path``.

    Args:
        trainer: Whose checkpoint callbacks are asked for ``"best"`` and ``"last"``.
        ckpt_path: A path, ``"best"``, ``"last"``, ``"auto"``, or None. The last is the newest whole checkpoint in the
            folders of the callbacks and, where a logger counts its runs, of the runs before; automatic means the last
            if there is one. None without a model, after a `fit`, means the best.
        fn: Which method was called.
        model_given: Whether it was called with a model.

    Returns:
        The path, or None to start from the model as it is.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If there is no best checkpoint.
    """
    join(trainer.strategy.checkpoint_io)  # a file that is still being written is one to be found
    if ckpt_path is None:
        saved = next((cb for cb in trainer.checkpoint_callbacks if getattr(cb, "best_model_path", "")), None)
        if model_given or fn == TrainerFn.FITTING or saved is None:
            return None
        path = _best_of(saved)
        rank_zero_info(f"`Trainer.{fn.value}` was called without a model, so the best checkpoint is used: {path}")
        return path
    if ckpt_path == "best":
        return _best(trainer, fn)
    if ckpt_path in ("last", "auto"):
        return _last(trainer, fn, silent=ckpt_path == "auto")
    from fulmen.utilities.whole_files import is_remote, is_there  # only those who name a checkpoint pay for it

    path = str(os.fspath(ckpt_path))
    if not is_remote(path) and not is_there(path):
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
    if not getattr(callbacks[0], "best_model_path", ""):
        raise MisconfiguredValue(
            "No checkpoint was saved yet, so there is no best one.",
            got=f'.{fn.value}(ckpt_path="best")',
            fix="Call `trainer.fit` first, see that `save_top_k` is not 0, or pass a path.",
        )
    return _best_of(callbacks[0])


def _best_of(callback: Any) -> str:
    """The best checkpoint that is whole; the best one if none is, so that loading it says what is wrong."""
    from fulmen.utilities.whole_files import what_is_wrong

    best = str(callback.best_model_path)
    scores = {path: float(score) for path, score in getattr(callback, "best_k_models", {}).items()}
    ranked = sorted(scores, key=scores.__getitem__, reverse=getattr(callback, "mode", "min") == "max")
    for path in dict.fromkeys([best, *ranked]):
        wrong = what_is_wrong(path)
        if not wrong:
            return str(path)
        rank_zero_warn(f"The checkpoint {path} is damaged or gone, and passed over: {wrong}.")
    return best


def _last(trainer: Trainer, fn: TrainerFn, silent: bool) -> str | None:
    from fulmen.utilities.whole_files import what_is_wrong

    fitting = fn == TrainerFn.FITTING
    passed_over = 0
    found = {one for callback in trainer.checkpoint_callbacks for one in _saved_by(trainer, callback)}
    for one in sorted(found, reverse=True):
        if fitting and not one.resumable:
            passed_over += 1
            continue  # weights alone, of a callback that saves no more
        wrong = what_is_wrong(one.path)
        if not wrong:
            rank_zero_info(f"The newest checkpoint is {one.path}.")
            return one.path
        passed_over += 1
        rank_zero_warn(f"The checkpoint {one.path} is damaged, and passed over: {wrong}.")
    consequence = "the run starts from the model as it is" if fitting else "the model is used as it is"
    if not silent:
        rank_zero_warn(f'`.{fn.value}(ckpt_path="last")`: no checkpoint was found, so {consequence}.')
    elif passed_over:
        rank_zero_warn(f'`.{fn.value}(ckpt_path="auto")`: no file can be gone on from, so {consequence}.')
    else:
        rank_zero_info(f'`.{fn.value}(ckpt_path="auto")`: there is no checkpoint, so {consequence}.')
    return None


def _saved_by(trainer: Trainer, callback: Any) -> list[Candidate]:
    """What a callback may have saved: in its folder or, where that holds nothing, in those of the runs before.

    A file with a seal counts whatever its name; others lie in such folders, too, and count by their names.
    """
    if not hasattr(callback, "_default_dirpath"):
        return []
    from fulmen.callbacks import checkpoint_files as files
    from fulmen.utilities.whole_files import candidate

    folder, extension = callback.dirpath or callback._default_dirpath(trainer), callback.FILE_EXTENSION
    names = [
        files.pattern_of(template, extension, callback.CHECKPOINT_JOIN_CHAR)
        for template in (callback._template, callback.CHECKPOINT_NAME_LAST)
    ]
    depth = callback._template.count("/")
    paths = files.paths_below(folder, depth, extension) or [
        path for earlier in files.earlier_runs(folder) for path in files.paths_below(earlier, depth, extension)
    ]
    known = [one for path in paths if (one := candidate(path)) is not None]
    return [one for one in known if one.sealed or any(name.fullmatch(os.path.basename(one.path)) for name in names)]
