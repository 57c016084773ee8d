"""What a checkpoint needs that nobody planned, because a signal ends the run: a name, and whether it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.callbacks.checkpoint_name import fields
from fulmen.checkpoint.io import join
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from fulmen.callbacks.checkpoint_store import CheckpointStore
    from fulmen.trainer.trainer import Trainer


def fresh_path(store: CheckpointStore, trainer: Trainer) -> str:
    """A path that nothing has yet, named like the others of a callback, so that it is found like them.

    Unlike the callback's own files it never takes the place of another, whatever ``enable_version_counter`` says.

    Args:
        store: The callback.
        trainer: Whose counts and metrics the name shows.

    Returns:
        The path.
    """
    template, known = store._template, store._monitor_candidates(trainer)
    labels = {name: known.get(name) if store._is_fresh(trainer, name, known) else None for name in fields(template)}
    path, version = store.format_checkpoint_name(labels, template), store.STARTING_VERSION
    while store.file_exists(path, trainer):
        path = store.format_checkpoint_name(labels, template, ver=version)
        version += 1
    return path


def finish_earlier_save(trainer: Trainer) -> None:
    """Waits for a save that is under way. If it fails, it is only warned of: the one that comes next may do better."""
    try:
        join(trainer.strategy.checkpoint_io)
    except Exception as failure:
        rank_zero_warn(f"A save that was under way has failed: {failure}")


def is_broken(trainer: Trainer) -> bool:
    """Whether a run of several processes has failed, so that they cannot save together any more. It is said once."""
    if trainer.world_size == 1:
        return False
    if not trainer.signals.obeyed:
        rank_zero_warn(
            "No checkpoint is saved after the exception: only a group of processes that is whole saves. What to do: go "
            'on from the newest file, `fit(ckpt_path="last")`; save more often with '
            "`ModelCheckpoint(every_n_train_steps=...)`."
        )
    return True


def place_of(trainer: Trainer) -> tuple[Any, ...]:
    """Where a run is: two files that were saved at one place let it go on in the same way."""
    progress, validation = trainer.progress, trainer.fit_loop.validation
    counts = (progress.batches, progress.steps)
    if progress.phase == "validation":
        return (*counts, "validation", validation.loader_index, validation.batches_done)
    return (*counts, "over" if progress.phase in ("between", "end") else "batch")
