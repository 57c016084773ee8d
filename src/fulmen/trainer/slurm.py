"""Jobs that SLURM starts again: what they save before, and what they go on from."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from fulmen.callbacks.emergency import finish_earlier_save
from fulmen.checkpoint.io import join
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.whole_files import what_is_wrong

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

_NAME = re.compile(r"hpc_ckpt_([0-9]+)\.ckpt")


def save_and_requeue(trainer: Trainer, begun: bool) -> str:
    """Saves everything to a file of its own, and puts the job into the queue again.

    Args:
        trainer: The Trainer, at the end of a step.
        begun: Whether there is something to save.

    Returns:
        What was done, as a sentence.
    """
    saved = "there is nothing to save before the first step"
    if begun:
        number = trainer.strategy.broadcast(max(_numbered(trainer.default_root_dir), default=0) + 1)
        path = os.path.join(trainer.default_root_dir, f"hpc_ckpt_{number}.ckpt")
        finish_earlier_save(trainer)
        trainer.save_checkpoint(path)
        join(trainer.strategy.checkpoint_io)
        saved = f"everything is saved to {path}"
    if not trainer.is_global_zero:
        return saved
    wrong = _requeue(_job())
    if wrong:
        return (
            f"{saved}. The job could not be put into the queue again: {wrong}. Submit it by hand; `fit` then goes on "
            "from there by itself."
        )
    return f"{saved}, and job {_job()} is in the queue again, where `fit` goes on by itself."


def requeued_checkpoint(trainer: Trainer) -> str | None:
    """What a job goes on from that was put into the queue again.

    Args:
        trainer: The Trainer, before `fit`.

    Returns:
        The newest whole file that an earlier start of the job saved; None where there is none, and where this Trainer
        has trained already.
    """
    if trainer.progress.batches:
        return None
    numbered = _numbered(trainer.default_root_dir)
    for number in sorted(numbered, reverse=True):
        path = numbered[number]
        wrong = what_is_wrong(path)
        if not wrong:
            rank_zero_info(
                f"The job goes on from {path}, which it saved before it was put into the queue again. To start anew, "
                "remove that file."
            )
            return path
        rank_zero_warn(f"The checkpoint {path} is passed over, since it is damaged: {wrong}.")
    return None


def _numbered(folder: str) -> dict[int, str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {int(match[1]): os.path.join(folder, match[0]) for match in map(_NAME.fullmatch, names) if match}


def _job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def _requeue(job: str) -> str:
    """Puts a job into the queue again.

    Returns:
        What went wrong; empty if nothing did.
    """
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"`{' '.join(command)}`: {error}"
    return f"`{' '.join(command)}`: {done.stderr.strip() or done.returncode}" if done.returncode else ""
