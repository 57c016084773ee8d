"""A run in processes of its own: what goes into them, and what comes back to the one that started them."""

from __future__ import annotations

import itertools
import os
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fulmen.strategies.overrides import override
from fulmen.utilities.exceptions import MisconfiguredRun
from fulmen.utilities.rank_zero import rank_zero_warn
from fulmen.utilities.states import TrainerFn, TrainerStatus
from fulmen.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.execute import Job
    from fulmen.trainer.trainer import Trainer

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
_NESTS = frozenset({list, tuple, set, frozenset})


def own_launch(trainer: Trainer) -> Any:
    """How a run is called where a launcher of somebody's own launches it; None where it is one of Fulmen's.

    Args:
        trainer: The Trainer.
    """
    launcher = trainer.strategy.launcher
    launch = None if launcher is None else override(launcher, "launch")
    return None if launch is None else partial(launch, trainer=trainer)


def start_others(trainer: Trainer, job: Job, run: Any, keep: bool = True) -> tuple[bool, Any]:
    """Starts the processes that a run needs, where nobody else does.

    Args:
        trainer: The Trainer.
        job: What was called.
        run: Carries it out, given the Trainer and the job.
        keep: Whether the Trainer and what belongs to it are to be afterwards as the run leaves them.

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
        partial(_in_child, run, keep),
        trainer,
        job,
        trainer=trainer,
        collect=partial(collect, trainer) if keep else None,
        restore=partial(restore, trainer, job) if keep else None,
    )


def _in_child(run: Any, keep: bool, trainer: Trainer, job: Job) -> Any:
    strategy: Any = trainer.strategy
    strategy.in_child = True
    trains = keep and job.fn == TrainerFn.FITTING
    if trains:
        trainer._left = None
    result = run(trainer, job)
    if trains and trainer.state.status == TrainerStatus.FINISHED:
        from fulmen.checkpoint.capture import dump_training

        with strategy.outside_of_a_run("fit"):  # all processes have a part in it
            trainer.fit_loop.share_buffers()
            trainer._left = dump_training(trainer)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from fulmen.strategies.process_group import leave_in_order

        leave_in_order()
    return result


def collect(trainer: Trainer) -> dict[str, Any]:
    """What a run leaves, of which the process that started it knows nothing."""
    module, datamodule = trainer.lightning_module, trainer.datamodule
    metrics = trainer.metrics.state_dict()
    return {
        "weights": {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in trainer.strategy.lightning_module_state_dict().items()
        },
        "training": [child.training for child in module.modules()],
        "trained": [parameter.requires_grad for parameter in module.parameters()],
        "state": trainer.state,
        "progress": trainer.progress.state_dict(),
        "should_stop": trainer.should_stop,
        "ckpt_path": trainer._ckpt_path,
        "for_checkpoints": trainer._left,
        "batches": [loop.max_batches for loop in _loaded(trainer)],
        "is_last_batch": trainer.is_last_batch,
        "metrics": move_data_to_device(metrics, torch.device("cpu")),
        "callbacks": [(type(one).__name__, one.state_dict(), _data_of(one)) for one in trainer.callbacks],
        "datamodule": None if datamodule is None else datamodule.state_dict(),
        "loggers": [_state_of(logger) for logger in trainer.loggers],
    }


def restore(trainer: Trainer, job: Job, left: dict[str, Any]) -> None:
    """Takes over what :func:`collect` gave.

    Raises:
        MisconfigurationException: If the weights of a training do not fit the module; names the file with them.
    """
    from fulmen.trainer.attach import attach_callbacks, attach_data, attach_module, unwrap

    module = trainer.lightning_module if job.model is None else unwrap(job.model)
    trainer.state.fn, trainer.state.status, trainer.state.stage = (
        left["state"].fn, left["state"].status, left["state"].stage
    )  # fmt: skip
    trainer.progress.load_state_dict(left["progress"])
    trainer.should_stop, trainer._ckpt_path = left["should_stop"], left["ckpt_path"]
    trainer._left = left["for_checkpoints"]
    attach_module(trainer, module)
    reason = _take_weights(trainer, module, left)
    job.find_datamodule()
    attach_data(trainer, module, job.datamodule, job.loaders)
    if left["datamodule"]:
        _give(job.datamodule, left["datamodule"])
    for loop, batches in zip(_loaded(trainer), left["batches"], strict=True):
        loop.max_batches = batches
    trainer.fit_loop.epoch_loop.is_last_batch = left["is_last_batch"]
    trainer.metrics.load_state_dict(left["metrics"])
    attach_callbacks(trainer, module)
    for callback, (kind, state, data) in zip(trainer.callbacks, left["callbacks"], strict=False):
        if type(callback).__name__ == kind:
            if state:
                _give(callback, state)
            vars(callback).update(data)
    for logger, state in zip(trainer.loggers, left["loggers"], strict=False):
        if state is not None:
            vars(logger).clear()
            vars(logger).update(vars(pickle.loads(state)))
    if reason is not None:
        _keep_weights(trainer, module, left["weights"], reason)


def _take_weights(trainer: Trainer, module: LightningModule, left: dict[str, Any]) -> str | None:
    """Loads the weights into the module, which may have to make layers first.

    Returns:
        Why not, if they do not fit.
    """
    strategy = trainer.strategy
    strategy.precision_plugin.convert_module(module)  # else double weights would lose digits
    reason = _load(module, left["weights"])
    if reason is not None:
        # not on the strategy's device: a process that has used a GPU cannot be forked for the next run
        with torch.device("cpu"), strategy.precision_plugin.tensor_init_context(), strategy.model_sharded_context():
            module.configure_sharded_model()
            module.configure_model()
        reason = _load(module, left["weights"])
    for child, mode in zip(module.modules(), left["training"], strict=False):
        child.training = mode
    for parameter, trained in zip(module.parameters(), left["trained"], strict=False):
        parameter.requires_grad = trained
    return reason


def _load(module: LightningModule, weights: dict[str, Any]) -> str | None:
    try:
        found: Any = module.load_state_dict(weights, strict=module.strict_loading)
    except RuntimeError as error:
        return str(error)
    unexpected = getattr(found, "unexpected_keys", None)
    return f"Unexpected key(s) in state_dict: {', '.join(unexpected)}" if unexpected else None


def _keep_weights(trainer: Trainer, module: LightningModule, weights: dict[str, Any], reason: str) -> None:
    """Complains of weights that do not fit, and writes them to a file where a training made them."""
    kind = type(module).__name__
    if trainer.state.fn != TrainerFn.FITTING:
        rank_zero_warn(f"The run used weights that do not fit this process's `{kind}`, which keeps its own: {reason}")
        return
    from fulmen.checkpoint.capture import dump_data
    from fulmen.checkpoint.io import join
    from fulmen.utilities.codec import encode_checkpoint

    paths = (os.path.join(trainer.default_root_dir, f"end_of_run{count or ''}.ckpt") for count in itertools.count())
    path = next(path for path in paths if not os.path.exists(path))
    trainer.strategy.save_checkpoint(encode_checkpoint(dump_data(trainer, weights)), path)
    join(trainer.strategy.checkpoint_io)
    raise MisconfiguredRun(
        f"Training is done, in other processes, and the weights do not fit the `{kind}` of this one.",
        got=reason,
        fix='Make layers in `__init__` or `configure_model`, which is called here too, or pass `strategy="ddp"`. '
        f"Nothing is lost: the checkpoint is {path!r}.",
    )


def _loaded(trainer: Trainer) -> list[Any]:
    """What knows how many batches the run had."""
    fn, fit = trainer.state.fn, trainer.fit_loop
    return [fit.data, fit.validation.data] if fn in (None, TrainerFn.FITTING) else [trainer.loop_of(fn).data]


def _give(owner: Any, state: dict[str, Any]) -> None:
    try:
        owner.load_state_dict(state)
    except Exception as error:  # weights and all else are worth more
        rank_zero_warn(
            f"`{type(owner).__name__}.load_state_dict` failed with what the run left: {error!r}. In this process it "
            "keeps what it had."
        )


def _data_of(owner: Any) -> dict[str, Any]:
    """Public attributes that are data through and through."""
    named = {name: value for name, value in vars(owner).items() if not name.startswith("_")}
    return {name: value for name, value in named.items() if _is_data(value)}


def _is_data(value: Any, depth: int = 0) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is Tensor:
        return not value.requires_grad
    if depth == 8:
        return False
    if kind is dict:
        return all(_is_data(key, depth + 1) and _is_data(one, depth + 1) for key, one in value.items())
    return kind in _NESTS and all(_is_data(one, depth + 1) for one in value)


def _state_of(logger: Any) -> bytes | None:
    """What a logger is after a run, so that it goes on in the same folder or run; None where it cannot be sent."""
    try:
        return pickle.dumps(logger)
    except Exception:
        return None
