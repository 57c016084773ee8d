"""What `fit`, `validate`, `test` and `predict` have in common: everything around the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fulmen.checkpoint.capture import restore_model, restore_training
from fulmen.checkpoint.io import join
from fulmen.core.hooks import restore_modes
from fulmen.core.module import LightningModule
from fulmen.data.parts import flat
from fulmen.data.worker_stream import release
from fulmen.loops.hooks import Hooks
from fulmen.loops.sanity import sanity_check
from fulmen.loops.watch import watch_hook
from fulmen.trainer.attach import attach_callbacks, attach_data, attach_module, check_ready, unwrap
from fulmen.trainer.ckpt_path import check_checkpoint, find_checkpoint
from fulmen.trainer.hyper_parameters import log_hyper_parameters
from fulmen.trainer.launched import own_launch, start_others
from fulmen.trainer.logging import agree_on_places, begin_logging, end_logging
from fulmen.trainer.optimizers import set_up_optimizers
from fulmen.trainer.profiling import begin_profile, end_profile
from fulmen.trainer.same import check_same
from fulmen.trainer.signals import requeue_signal
from fulmen.utilities.codec import decode_checkpoint, is_trusted
from fulmen.utilities.exceptions import MisconfiguredType
from fulmen.utilities.generations import stand_in
from fulmen.utilities.imports import interactive
from fulmen.utilities.migration.utils import is_old, migrate_checkpoint, pl_legacy_patch
from fulmen.utilities.rank_zero import rank_zero_info, rank_zero_warn
from fulmen.utilities.states import RunningStage, TrainerFn, TrainerStatus
from fulmen.utilities.traceback import fold

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

STAGES = {
    TrainerFn.FITTING: RunningStage.TRAINING,
    TrainerFn.VALIDATING: RunningStage.VALIDATING,
    TrainerFn.TESTING: RunningStage.TESTING,
    TrainerFn.PREDICTING: RunningStage.PREDICTING,
}

# The parts of a run that libraries replace, and where ours are.
PARTS = (
    "_fit_impl", "_validate_impl", "_test_impl", "_predict_impl", "_run", "_run_stage", "_run_sanity_check", "_teardown"
)  # fmt: skip
INSIDE = "fulmen.trainer.inside"


@dataclass
class Job:
    """One call of the Trainer.

    Attributes:
        fn: Which method was called.
        model: The module, or None for the one that the Trainer has.
        datamodule: The data module, or None.
        loaders: Loaders that were passed, by the name of the argument.
        ckpt_path: The checkpoint to start from: a path, ``"best"``, ``"last"``, ``"auto"``, or None.
        weights_only: How the checkpoint may be read; see ``torch.load``.
    """

    fn: TrainerFn
    model: Any
    datamodule: Any = None
    loaders: dict[str, Any] = field(default_factory=dict)
    ckpt_path: Any = None
    weights_only: bool | None = None

    def find_datamodule(self) -> None:
        """Takes a data module where loaders are expected as what it is."""
        for name, value in self.loaders.items():
            if hasattr(value, "prepare_data") and hasattr(value, "train_dataloader"):
                self.datamodule, self.loaders[name] = value, None


def execute(trainer: Trainer, job: Job) -> Any:
    """Carries out a call of the Trainer.

    Args:
        trainer: The Trainer.
        job: What was called, and with what.

    Returns:
        What the loop returns; None for `fit`.
    """
    result: Any = None
    launch = None
    if trainer.strategy.launcher is not None and (launch := own_launch(trainer)) is None:
        over, result = start_others(trainer, job, execute)
        if over:
            return result
    in_parts = launch is not None or is_run_in_parts(trainer)
    try:
        if in_parts:
            return first_part(trainer, job, launch)
        take_note(trainer, job.fn)
        with backends(trainer):
            begin(trainer, job)
            if job.fn == TrainerFn.FITTING:
                trainer.signals.listen(trainer)
                sanity_check(trainer.fit_loop)
                trainer.fit_loop.run()
                trainer.signals.close(trainer)
            else:
                result = trainer.loop_of(job.fn).run()
            end(trainer, job.fn)
        return result
    except BaseException as error:
        if in_parts:
            trainer._teardown()
        failure = trainer.strategy.explain(error, trainer.signals.obeyed)
        interrupted(trainer, failure)
        fold(failure)
        if isinstance(error, KeyboardInterrupt) and interactive():
            return None
        if failure is not error:
            raise failure from failure.__cause__
        raise
    finally:
        trainer.signals.restore()


def take_note(trainer: Trainer, fn: TrainerFn) -> None:
    """Says in the Trainer's state what runs."""
    trainer.state.fn, trainer.state.status = fn, TrainerStatus.RUNNING
    trainer.state.stage = STAGES[fn]
    trainer.signals.forget()


def is_run_in_parts(trainer: Trainer) -> bool:
    """Whether a library has replaced one of the methods that :mod:`fulmen.trainer.inside` has for it."""
    parts = [getattr(trainer, part) for part in PARTS]
    return any(getattr(part, "__module__", None) != INSIDE or hasattr(part, "__wrapped__") for part in parts)


def first_part(trainer: Trainer, job: Job, launch: Any = None) -> Any:
    """Hands a call of the Trainer to the method that a library knows it by.

    Args:
        trainer: The Trainer.
        job: What was called.
        launch: What calls that method, where somebody's own launcher does.
    """
    part = getattr(trainer, f"_{job.fn.value}_impl")
    call = part if launch is None else partial(launch, part)
    end, given = (job.datamodule, job.ckpt_path, job.weights_only), job.loaders.get("dataloaders")
    if job.fn == TrainerFn.FITTING:
        loaders = job.loaders["train_dataloaders"], job.loaders["val_dataloaders"]
        return call(job.model, *loaders, *end)
    if job.fn == TrainerFn.PREDICTING:
        returned = trainer.predict_loop.return_predictions
        return call(job.model, given, job.datamodule, returned, *end[1:])
    return call(job.model, given, job.ckpt_path, True, job.datamodule, job.weights_only)


@contextmanager
def backends(trainer: Trainer) -> Iterator[None]:
    """Sets torch's switches for a run, and puts back those that are not meant to last."""
    with ExitStack() as stack:
        if trainer.detect_anomaly:
            stack.enter_context(torch.autograd.set_detect_anomaly(True))
        stack.enter_context(torch.set_grad_enabled(True))
        yield


def assemble(trainer: Trainer, job: Job) -> LightningModule:
    """Brings the Trainer, a module, its data and callbacks together, and complains of what is missing.

    Returns:
        The module.
    """
    job.find_datamodule()
    module = _module_of(trainer, job)
    attach_module(trainer, module)
    attach_data(trainer, module, job.datamodule, job.loaders)
    trainer.metrics.reset()
    trainer.metrics.watch(None)
    if trainer.loggers:
        begin_logging(trainer)
    attach_callbacks(trainer, module)
    for callback in trainer.callbacks:
        callback.__dict__.update(log=module.log, log_dict=module.log_dict)
    check_ready(trainer, module, job.fn)
    return module


def begin(trainer: Trainer, job: Job) -> None:
    """Everything before the loop, in the order in which users know it."""
    fn = job.fn
    fitting = fn == TrainerFn.FITTING
    module = assemble(trainer, job)
    trainer.strategy.setup_environment()
    check_same(trainer, fn)
    agree_on_places(trainer)
    trainer._ckpt_path = trainer.strategy.broadcast(
        _requeued(trainer, fn) or find_checkpoint(trainer, job.ckpt_path, fn, model_given=job.model is not None)
    )
    trainer.ckpt_named = job.ckpt_path not in (None, "last", "best", "auto")
    if fitting:
        trainer.fit_loop.default_limit()
    if trainer.profile_wrapper() is not None:
        begin_profile(trainer, module)
    call_setup(trainer, module, fn)
    checkpoint = None
    if trainer._ckpt_path is not None:
        checkpoint = read_checkpoint(trainer, trainer._ckpt_path, job.weights_only)
        restore_model(trainer, checkpoint)
    log_hyper_parameters(trainer, module, trainer.datamodule)
    trainer.strategy.setup(trainer)
    callbacks = [*trainer.companions, *trainer.callbacks]
    agree = trainer.fit_loop.reduce_values if fitting and trainer.strategy.world_size > 1 else None
    trainer.hooks = Hooks(trainer, module, callbacks, trainer.logbook, trainer.profile_wrapper(), agree)
    if fitting:
        set_up_optimizers(trainer)
        trainer.should_stop = False
        trainer.hooks.on_fit_start()
        # an epoch that a failed run left without its end is run again
        trainer.progress.epoch_done, trainer.progress.phase = False, "between"
        if checkpoint is not None:
            restore_training(trainer, checkpoint)
        trainer.fit_loop.prepare()
        _warn_of_eval_mode(module)
    else:
        trainer.loop_of(fn).prepare()
    for logger in trainer.loggers:
        logger.log_graph(module)


def _requeued(trainer: Trainer, fn: TrainerFn) -> str | None:
    """What a job that its cluster started again goes on from, whatever its script says."""
    if fn != TrainerFn.FITTING or requeue_signal(trainer) is None:
        return None
    from fulmen.trainer.slurm import requeued_checkpoint  # only jobs of a cluster pay for it

    return requeued_checkpoint(trainer)


def read_checkpoint(trainer: Trainer, path: str, weights_only: bool | None) -> dict[str, Any]:
    """A checkpoint as the run needs it: in the layout of today, plain data made values again."""
    with pl_legacy_patch():
        checkpoint = trainer.strategy.load_checkpoint(path, weights_only=weights_only)
    check_checkpoint(checkpoint, path)
    checkpoint = decode_checkpoint(checkpoint, is_trusted(weights_only))
    return migrate_checkpoint(checkpoint)[0] if is_old(checkpoint) else checkpoint


def _warn_of_eval_mode(module: LightningModule) -> None:
    resting = sum(not child.training for child in module.modules())
    if resting:
        rank_zero_warn(
            f"{resting} of the modules in `{type(module).__name__}` are in evaluation mode, and training leaves them "
            "there. If that is not on purpose, call `model.train()` before `trainer.fit`."
        )


def _module_of(trainer: Trainer, job: Job) -> LightningModule:
    if job.model is not None:
        return unwrap(job.model)
    module = trainer.lightning_module
    if module is None:
        raise MisconfiguredType(
            f"`Trainer.{job.fn.value}` needs a model when the Trainer has none yet.",
            fix=f"`trainer.{job.fn.value}(model, ...)`.",
        )
    return module


def call_setup(trainer: Trainer, module: LightningModule, fn: TrainerFn) -> None:
    """Calls the hooks that make data and model ready."""
    datamodule = trainer.datamodule
    for owner in (datamodule, module):
        if owner is not None:
            prepare_data(trainer, owner)
    if datamodule is not None:
        watch_hook(trainer, datamodule, "setup")(stage=fn)
    for callback in trainer.callbacks:
        watch_hook(trainer, callback, "setup")(trainer, module, stage=fn)
    watch_hook(trainer, module, "setup")(stage=fn)
    with trainer.strategy.tensor_init_context(), trainer.strategy.model_sharded_context():
        module.configure_sharded_model()
        watch_hook(trainer, module, "configure_model")()


def prepare_data(trainer: Trainer, owner: Any) -> None:
    """Calls that hook on one process of each machine, or of all of them, for whom the others wait."""
    strategy = trainer.strategy
    if strategy.world_size == 1:
        watch_hook(trainer, owner, "prepare_data")()
        return
    first = strategy.local_rank if getattr(owner, "prepare_data_per_node", True) else strategy.global_rank
    with strategy.waiting("prepare_data", patient=True):
        if first == 0:
            watch_hook(trainer, owner, "prepare_data")()
        strategy.barrier("prepare_data")


def call_teardown(trainer: Trainer, module: LightningModule, fn: TrainerFn) -> None:
    """Calls the hooks that are the counterpart of those of :func:`call_setup`."""
    if trainer.datamodule is not None:
        watch_hook(trainer, trainer.datamodule, "teardown")(stage=fn)
    for callback in trainer.callbacks:
        watch_hook(trainer, callback, "teardown")(trainer, module, stage=fn)
    watch_hook(trainer, module, "teardown")(stage=fn)


def end(trainer: Trainer, fn: TrainerFn) -> None:
    """Everything after the loop."""
    module = trainer.lightning_module
    if fn == TrainerFn.FITTING:
        trainer.hooks.on_fit_end()
    call_teardown(trainer, module, fn)
    if trainer.loggers:
        end_logging(trainer, "success")
    let_go(trainer)
    if trainer.profile_wrapper() is not None:
        end_profile(trainer, report=True)
    if trainer.strategy.peers is not None:  # who is through hears of it if another one fails in what is left
        trainer.strategy.barrier("the end of the run")
    trainer.strategy.teardown()
    trainer.state.status, trainer.state.stage = TrainerStatus.FINISHED, None


def let_go(trainer: Trainer) -> None:
    """Ends what only a run needs: logging, and workers that loaders keep between passes."""
    trainer.logbook.open(None)
    trainer.metrics.watch(None)
    for callback in trainer.callbacks:
        callback.__dict__.pop("log", None)
        callback.__dict__.pop("log_dict", None)
    fn = trainer.state.fn
    if fn is None or fn == TrainerFn.FITTING:
        fit = trainer.fit_loop
        loaders = [fit.data.loader, *fit.validation.data.loaders]
    else:
        loaders = trainer.loop_of(fn).data.loaders
    for one in flat(loaders):
        release(one)


def interrupted(trainer: Trainer, error: BaseException) -> None:
    """What still has to be done when a run ends with an exception."""
    trainer.state.status = TrainerStatus.INTERRUPTED
    if isinstance(error, KeyboardInterrupt) and not trainer.signals.obeyed:
        rank_zero_info("Ctrl-C: training stops here.")
    trainer.logbook.hook = None
    for callback in trainer.callbacks:
        try:
            stand_in(callback, "on_exception")(trainer, trainer.lightning_module, error)
        except Exception as failure:  # the first error is the one to be mended
            rank_zero_warn(f"`{type(callback).__name__}.on_exception` failed in turn: {failure!r}")
    if trainer.datamodule is not None and hasattr(trainer.datamodule, "on_exception"):
        trainer.datamodule.on_exception(error)
    trainer.strategy.on_exception(error)
    try:
        join(trainer.strategy.checkpoint_io)
    except Exception as failure:
        rank_zero_warn(f"A save was under way when the run ended. {failure}")
    if trainer.loggers:
        end_logging(trainer, "failed")
    let_go(trainer)
    if trainer.profile_wrapper() is not None:
        end_profile(trainer, report=isinstance(error, KeyboardInterrupt))
    if trainer.lightning_module is not None:
        restore_modes(trainer.lightning_module)  # an evaluation that failed leaves the model fit for training
    if not isinstance(error, KeyboardInterrupt):
        trainer.state.stage = None
