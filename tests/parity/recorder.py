"""Classes that write down every hook they receive, made from the classes of the framework under test.

A line of a record reads ``owner.hook(arguments) epoch step stage mode``. Two frameworks behave alike when their records
are equal line by line.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_MOMENTS = ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")
_SHARED_EVENTS = (
    *("setup", "teardown", "on_fit_start", "on_fit_end"),
    *(f"on_{stage}_{moment}" for stage in ("train", "validation", "test", "predict") for moment in _MOMENTS),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"),
    *("on_save_checkpoint", "on_load_checkpoint"),
)
MODULE_EVENTS = (
    *_SHARED_EVENTS,
    *("prepare_data", "configure_model", "configure_callbacks", "configure_optimizers"),
    *("on_validation_model_zero_grad", "on_validation_model_eval", "on_validation_model_train"),
    *("on_test_model_eval", "on_test_model_train", "on_predict_model_eval"),
)
# What a module may replace rather than hear: overriding one of these can change the way of a step.
MODULE_OVERRIDES = (
    *("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping", "lr_scheduler_step"),
    *("toggle_optimizer", "untoggle_optimizer"),
)
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
CALLBACK_EVENTS = (
    *_SHARED_EVENTS,
    *("on_sanity_check_start", "on_sanity_check_end", "on_exception", "state_dict", "load_state_dict"),
)
DATA_EVENTS = (
    *("prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict"),
    *("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"),
)
# Their argument is a whole checkpoint: its content is not a matter of hook order.
_WITHOUT_ARGUMENTS = frozenset({"on_save_checkpoint", "on_load_checkpoint", "load_state_dict"})


class Recorder:
    """The list of what happened, each line with the counters of ``trainer`` as they were."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.trainer: Any = None
        self.module: torch.nn.Module | None = None

    def write(self, event: str) -> None:
        """Append ``event`` with the counters beside it."""
        if self.trainer is not None:  # what a constructor calls is nobody's business
            self.lines.append(f"{event} {self._counters()}")

    def _counters(self) -> str:
        trainer, module = self.trainer, self.module
        state = trainer.state
        mode = "-" if module is None else "train" if module.training else "eval"
        grad = "grad" if torch.is_grad_enabled() else "nograd"
        last = " last" if trainer.is_last_batch else ""
        stage = f"{shown(state.fn)}/{shown(state.stage)}"
        return f"epoch={trainer.current_epoch} step={trainer.global_step} {stage} {mode} {grad}{last}"


def shown(value: Any) -> str:
    """A short, stable text: numbers as they are, tensors by shape, containers by content, other objects not at all."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return f"tensor{list(value.shape)}"  # its numbers are for test_numbers.py
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return f"{type(value).__name__}({value})" if isinstance(value, BaseException) else "object"


def recording(base: type, owner: str, names: Iterable[str], recorder: Recorder) -> type:
    """A subclass of ``base`` in which each method of ``names`` writes itself down and then does its work."""
    methods = {name: _recorded(getattr(base, name), owner, name, recorder) for name in names}
    return type(f"Recording{base.__name__}", (base,), methods)


def _recorded(inner: Callable[..., Any], owner: str, name: str, recorder: Recorder) -> Callable[..., Any]:
    signature = inspect.signature(inner)

    def hook(*args: Any, **kwargs: Any) -> Any:
        recorder.write(f"{owner}.{name}({_arguments(signature, name, args, kwargs)})")
        return inner(*args, **kwargs)

    hook.__name__ = hook.__qualname__ = name
    # Not functools.wraps: a `__wrapped__` attribute hides the override from a framework that looks through it.
    hook.__signature__ = signature
    return hook


def _arguments(signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if name in _WITHOUT_ARGUMENTS:
        return ""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()  # whether a default was passed or left out is the same call
    left_out = ("self", "trainer", "pl_module")
    return ", ".join(f"{key}={shown(value)}" for key, value in bound.arguments.items() if key not in left_out)
