"""A run in processes of its own: what goes into them, and what comes back to the one that started them."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fulmen.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from fulmen.trainer.execute import Job
    from fulmen.trainer.trainer import Trainer


def start_others(trainer: Trainer, job: Job, run: Any) -> tuple[bool, Any]:
    """Starts the processes that a run needs, where nobody else does.

    Args:
        trainer: The Trainer.
        job: What was called.
        run: Carries it out, given the Trainer and the job.

    Returns:
        Whether the run is over, because it took place in other processes, and its result.
    """
    launcher = trainer.strategy.launcher
    if launcher is None:
        return False, None
    start = getattr(launcher, "start", None)
    if start is not None:  # this process is one of them
        start()
        return False, None
    return True, launcher.launch(
        partial(_in_child, run),
        trainer,
        job,
        trainer=trainer,
        collect=partial(collect, trainer),
        restore=partial(restore, trainer, job.model),
    )


def _in_child(run: Any, trainer: Trainer, job: Job) -> Any:
    strategy: Any = trainer.strategy
    strategy.in_child = True
    result = run(trainer, job)
    if trainer.world_size > 1:
        from fulmen.strategies.process_group import leave_in_order

        leave_in_order()
    return result


def collect(trainer: Trainer) -> dict[str, Any]:
    """What a run leaves, of which the process that started it knows nothing."""
    module = trainer.lightning_module
    metrics = trainer.metrics.state_dict()
    return {
        "weights": {name: value.cpu() for name, value in trainer.strategy.lightning_module_state_dict().items()},
        "training": [child.training for child in module.modules()],
        "state": trainer.state,
        "progress": trainer.progress.state_dict(),
        "should_stop": trainer.should_stop,
        "ckpt_path": trainer._ckpt_path,
        "metrics": move_data_to_device(metrics, torch.device("cpu")),
        "callbacks": [callback.state_dict() for callback in trainer.callbacks],
        "loggers": [_state_of(logger) for logger in trainer.loggers],
    }


def restore(trainer: Trainer, model: Any, left: dict[str, Any]) -> None:
    """Takes over what :func:`collect` gave."""
    from fulmen.trainer.attach import attach_module, unwrap

    module = trainer.lightning_module if model is None else unwrap(model)
    attach_module(trainer, module)
    module.load_state_dict(left["weights"])
    for child, mode in zip(module.modules(), left["training"], strict=False):
        child.training = mode
    trainer.state.fn, trainer.state.status, trainer.state.stage = (
        left["state"].fn, left["state"].status, left["state"].stage
    )  # fmt: skip
    trainer.progress.load_state_dict(left["progress"])
    trainer.should_stop, trainer._ckpt_path = left["should_stop"], left["ckpt_path"]
    trainer.metrics.load_state_dict(left["metrics"])
    for callback, state in zip(trainer.callbacks, left["callbacks"], strict=False):
        if state:
            callback.load_state_dict(state)
    for logger, state in zip(trainer.loggers, left["loggers"], strict=False):
        if state is not None:
            vars(logger).clear()
            vars(logger).update(vars(pickle.loads(state)))


def _state_of(logger: Any) -> bytes | None:
    """What a logger is after a run, so that it goes on in the same folder or run; None where it cannot be sent."""
    try:
        return pickle.dumps(logger)
    except Exception:
        return None
