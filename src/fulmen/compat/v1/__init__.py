"""The dialect of Lightning 1.x: its flags, hooks, methods and arguments, each with its old meaning and one hint.

Nothing of it is imported unless somebody speaks it: this file decides that, by names alone. ``FULMEN_DIALECT`` in the
environment says which version holds where 1.5 and 1.9 differ: ``1.9`` (unless set), ``1.5``, or ``none`` to leave all
of it out.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from inspect import getattr_static
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer

ARGUMENTS = frozenset({
    "amp_backend", "amp_level", "auto_lr_find", "auto_scale_batch_size", "auto_select_gpus", "checkpoint_callback",
    "default_save_path", "distributed_backend", "early_stop_callback", "flush_logs_every_n_steps", "gpus",
    "gradient_clip", "hpus", "ipus", "log_gpu_memory", "nb_gpu_nodes", "nb_sanity_val_steps", "overfit_pct",
    "test_percent_check", "train_percent_check", "val_percent_check",
    "max_nb_epochs", "min_nb_epochs", "move_metrics_to_cpu", "multiple_trainloader_mode", "num_processes",
    "prepare_data_per_node", "process_position", "progress_bar_refresh_rate", "reload_dataloaders_every_epoch",
    "replace_sampler_ddp", "resume_from_checkpoint", "row_log_interval", "log_save_interval", "stochastic_weight_avg",
    "terminate_on_nan", "tpu_cores", "track_grad_norm", "truncated_bptt_steps", "weights_save_path",
    "weights_summary", "automatic_optimization", "enable_pl_optimizer", "show_progress_bar",
})  # fmt: skip
"""Arguments of the Trainer that are gone."""

_ACCELERATORS = frozenset({
    "ddp", "ddp2", "ddp_cpu", "ddp_spawn", "ddp_sharded", "ddp_sharded_spawn", "deepspeed", "dp", "fsdp",
    "horovod", "hpu", "ipu",
})  # fmt: skip
_STRATEGIES = ("bagua", "colossalai", "ddp2", "ddp_fully_sharded", "ddp_sharded", "ddp_spawn_sharded", "dp", "fsdp_nat",
               "hivemind", "horovod", "hpu", "ipu", "tpu")  # fmt: skip


def _is_old_strategy(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.startswith(_STRATEGIES))


def _has_strategy(plugins: Any) -> bool:
    several = plugins if isinstance(plugins, (list, tuple)) else (plugins,)
    return any(isinstance(one, str) or any(b.__name__ == "Strategy" for b in type(one).__mro__) for one in several)


OLD_VALUES: dict[str, Callable[[Any], bool]] = {
    "accelerator": lambda value: value is None or (isinstance(value, str) and value in _ACCELERATORS),
    "accumulate_grad_batches": lambda value: isinstance(value, dict),
    "devices": lambda value: value is None,
    "max_steps": lambda value: value is None,
    "overfit_batches": lambda value: isinstance(value, bool),
    "plugins": _has_strategy,
    "precision": lambda value: isinstance(value, str) and value == "mixed",
    "profiler": lambda value: isinstance(value, bool),
    "strategy": _is_old_strategy,
}
"""Arguments that are still there, and which of their values are of 1.x."""

HOOKS = frozenset({
    "get_progress_bar_dict", "on_batch_end", "on_batch_start", "on_before_accelerator_backend_setup",
    "on_configure_sharded_model", "on_epoch_end", "on_epoch_start", "on_init_end", "on_init_start",
    "on_keyboard_interrupt", "on_post_move_to_device", "on_predict_dataloader", "on_pretrain_routine_end",
    "on_pretrain_routine_start", "on_test_dataloader", "on_train_dataloader", "on_val_dataloader", "tbptt_split_batch",
    "test_epoch_end", "test_step_end", "training_epoch_end", "training_step_end", "validation_epoch_end",
    "validation_step_end", "log_grad_norm",
})  # fmt: skip
"""Methods of a user's class that only 1.x calls."""

PARAMETERS: dict[str, frozenset[str]] = {
    "training_step": frozenset({"optimizer_idx", "opt_idx", "hiddens"}),
    "optimizer_step": frozenset({"optimizer_idx", "on_tpu", "using_native_amp", "using_lbfgs", "second_order_closure"}),
    "optimizer_zero_grad": frozenset({"optimizer_idx"}),
    "toggle_optimizer": frozenset({"optimizer_idx"}),
    "untoggle_optimizer": frozenset({"optimizer_idx"}),
    "lr_scheduler_step": frozenset({"optimizer_idx"}),
    "backward": frozenset({"optimizer_idx"}),
    "configure_gradient_clipping": frozenset({"optimizer_idx"}),
    "on_before_optimizer_step": frozenset({"optimizer_idx", "opt_idx"}),
    "on_train_batch_start": frozenset({"dataloader_idx", "unused"}),
    "on_train_batch_end": frozenset({"dataloader_idx", "unused"}),
    "on_train_epoch_end": frozenset({"outputs"}),
    "on_validation_epoch_end": frozenset({"outputs"}),
    "on_test_epoch_end": frozenset({"outputs"}),
    "on_predict_epoch_end": frozenset({"results", "outputs"}),
    "on_load_checkpoint": frozenset({"callback_state", "checkpointed_state"}),
}
"""Methods that are still there, and the parameters that only 1.x passed."""

FEWER = {
    "on_save_checkpoint": ("self", "trainer", "pl_module"), "transfer_batch_to_device": ("self", "batch", "device"),
    "on_before_batch_transfer": ("self", "batch"), "on_after_batch_transfer": ("self", "batch"),
}  # fmt: skip
"""Methods that get more today, and what they took in some 1.x."""
_TAKES_MORE = 0x04 | 0x08  # the flags of code with ``*args`` or ``**kwargs``

LATER: dict[str, tuple[str, ...]] = {
    "Trainer": (
        "add_argparse_args",
        "default_attributes",
        "from_argparse_args",
        "get_deprecated_arg_names",
        "lr_find",
        "lr_schedulers",
        "match_env_arguments",
        "parse_argparser",
        "scale_batch_size",
        "tune",
        "tuner",
    ),
    "LightningDataModule": (
        "add_argparse_args",
        "from_argparse_args",
        "get_init_arguments_and_types",
        "parse_argparser",
        "dims",
        "has_prepared_data",
        "has_setup_fit",
        "has_setup_predict",
        "has_setup_test",
        "has_setup_validate",
        "has_teardown_fit",
        "has_teardown_predict",
        "has_teardown_test",
        "has_teardown_validate",
        "size",
        "test_transforms",
        "train_transforms",
        "val_transforms",
    ),
}
"""Names of 1.x that may be asked for before anything else of it was seen: of ``WORDS`` in their vocabularies."""

KEYWORDS: dict[str, frozenset[str]] = {
    "LightningDataModule": frozenset({"train_transforms", "val_transforms", "test_transforms", "dims"}),
    "ModelCheckpoint": frozenset({"every_n_val_epochs", "filepath", "period", "prefix"}),
    "LambdaCallback": frozenset({
        "on_before_accelerator_backend_setup", "on_batch_end", "on_batch_start", "on_configure_sharded_model",
        "on_epoch_end", "on_epoch_start", "on_init_end", "on_init_start", "on_keyboard_interrupt",
        "on_pretrain_routine_end", "on_pretrain_routine_start",
    }),
}  # fmt: skip
"""Arguments of other classes that are gone."""

VOCABULARIES = {
    "Trainer": "fulmen.compat.v1.trainer_words",
    "LightningModule": "fulmen.compat.v1.module_words",
    "LightningDataModule": "fulmen.compat.v1.datamodule_words",
    "Callback": "fulmen.compat.v1.callback_words",
    "EarlyStopping": "fulmen.compat.v1.stopping_words",
    "EpochLoop": "fulmen.compat.v1.loop_words",
    "EvaluationLoop": "fulmen.compat.v1.pass_words",
    "FitLoop": "fulmen.compat.v1.loop_words",
    "LambdaCallback": "fulmen.compat.v1.lambda_words",
    "Logger": "fulmen.compat.v1.logger_words",
    "ModelCheckpoint": "fulmen.compat.v1.checkpoint_words",
    "PredictionLoop": "fulmen.compat.v1.pass_words",
    "Profiler": "fulmen.compat.v1.profiler_words",
    "ProgressBar": "fulmen.compat.v1.progress_words",
}
"""Where the names of a class, and the methods that take more than today's, are written down."""

_old: dict[type, bool] = {}
speaking = False
"""Whether somebody has spoken the dialect in this process; see :mod:`fulmen.compat.v1.speech`."""


def version() -> str:
    """Which 1.x holds where its versions differ: ``"1.9"`` or ``"1.5"``."""
    return "1.5" if os.environ.get("FULMEN_DIALECT") == "1.5" else "1.9"


class Word:
    """A name of 1.x on one of our classes; what it stands for is looked up when it is used."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name

    def __get__(self, instance: Any, owner: type) -> Any:
        value = getattr_static(importlib.import_module(VOCABULARIES[self.kind]).WORDS, self.name)
        return value.__get__(instance, owner)


def teach(kind: type) -> None:
    """Adds names of 1.x to one of our classes.

    Args:
        kind: The class.
    """
    name = kind.__name__
    if speaking:
        importlib.import_module("fulmen.compat.v1.speech").teach(kind)
    else:
        for word in LATER.get(name, ()):
            setattr(kind, word, Word(name, word))
        if name in KEYWORDS:
            kind.__init__ = _heard(kind, KEYWORDS[name])  # type: ignore[misc]


def _heard(kind: type, old: frozenset[str]) -> Callable[..., None]:
    """An ``__init__`` that makes way for that of 1.x where an argument of 1.x comes."""
    init: Callable[..., None] = kind.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if old.isdisjoint(kwargs):
            init(self, *args, **kwargs)
        else:
            speak()
            kind.__init__(self, *args, **kwargs)  # type: ignore[misc]

    return __init__


def arguments(
    trainer: Trainer, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Makes the Trainer's arguments of today out of what was given.

    Args:
        trainer: The Trainer that is being made.
        given: Its positional arguments.
        named: Its arguments by name.

    Returns:
        Both, without any of 1.x.
    """
    if "callbacks" in named:
        _announce(trainer, named["callbacks"], "on_init_start")
    old_values = any(name in named and is_of_old(named[name]) for name, is_of_old in OLD_VALUES.items())
    if not (given or old_values or ARGUMENTS & named.keys()):
        return given, named
    speak()
    return importlib.import_module("fulmen.compat.v1.flags").translate(trainer, given, named)  # type: ignore[no-any-return]


def made(trainer: Trainer) -> None:
    """Tells callbacks that a Trainer is there.

    Args:
        trainer: The Trainer.
    """
    _announce(trainer, getattr(trainer, "_given_callbacks", ()), "on_init_end")


def _announce(trainer: Trainer, callbacks: Any, event: str) -> None:
    """Calls an event around the Trainer's ``__init__`` of those callbacks that have one."""
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else (callbacks,):
        if callback is not None and (is_old(type(callback)) or event in getattr(callback, "__dict__", ())):
            listener = importlib.import_module("fulmen.compat.v1.heard").users(callback, event)
            if listener is not None:
                speak()
                listener(trainer)


def adapt(trainer: Trainer, owner: object) -> None:
    """Lets a module, data module or callback of 1.x take part in a run.

    Args:
        trainer: The Trainer.
        owner: What may be written for 1.x.
    """
    if speaking or is_old(type(owner)):
        speak()
        importlib.import_module("fulmen.compat.v1.owners").adapt_owner(trainer, owner)


def speak() -> None:
    """Teaches all of our classes the dialect, from now on."""
    if not speaking:
        importlib.import_module("fulmen.compat.v1.speech").speak()


def forget() -> None:
    """Takes back what :func:`speak` taught."""
    if speaking:
        importlib.import_module("fulmen.compat.v1.speech").forget()


def is_old(kind: type) -> bool:
    """Whether a class of the user's has hooks of 1.x, or hooks of today with parameters of then."""
    if kind not in _old:
        users = [base for base in kind.__mro__ if not base.__module__.startswith(("fulmen.", "torch.", "builtins"))]
        _old[kind] = any(_has_old(base) for base in users)
    return _old[kind]


def _has_old(base: type) -> bool:
    for name, value in vars(base).items():
        if name in HOOKS:
            return True
        wanted = PARAMETERS.get(name)
        code = getattr(value, "__code__", None)
        if wanted and code is not None:
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if not wanted.isdisjoint(names):
                return True
        if name == "training_step" and code is not None and _returns_old(code):
            return True
        fewer = FEWER.get(name)
        if fewer and code is not None and not code.co_flags & _TAKES_MORE and code.co_argcount == len(fewer):
            return True
    return False


def _returns_old(code: CodeType) -> bool:
    """Whether a step seems to return values under ``"log"`` beside its loss, as in 1.0."""
    words = {word for one in code.co_consts for word in (one if isinstance(one, tuple) else (one,))
             if isinstance(word, str)}  # fmt: skip
    return "loss" in words and not words.isdisjoint(("log", "progress_bar"))
