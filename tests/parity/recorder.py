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
_SHARED_EVENTS = tuple(
    """
    setup teardown on_fit_start on_fit_end on_train_start on_train_end on_train_epoch_start on_train_epoch_end
    on_train_batch_start on_train_batch_end on_validation_start on_validation_end on_validation_epoch_start
    on_validation_epoch_end on_validation_batch_start on_validation_batch_end on_test_start on_test_end
    on_test_epoch_start on_test_epoch_end on_test_batch_start on_test_batch_end on_predict_start on_predict_end
    on_predict_epoch_start on_predict_epoch_end on_predict_batch_start on_predict_batch_end on_before_zero_grad
    on_before_backward on_after_backward on_before_optimizer_step on_save_checkpoint on_load_checkpoint
    """.split()
)
MODULE_EVENTS = (
    *_SHARED_EVENTS,
    *"""
    prepare_data configure_model configure_callbacks configure_optimizers on_validation_model_eval
    on_validation_model_train on_validation_model_zero_grad on_test_model_eval on_test_model_train
    on_predict_model_eval
    """.split(),
)
# What a module may replace rather than hear: overriding one of these can change the way of a step.
MODULE_OVERRIDES = tuple(
    """
    configure_gradient_clipping optimizer_step optimizer_zero_grad lr_scheduler_step backward toggle_optimizer
    untoggle_optimizer
    """.split()
)
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
CALLBACK_EVENTS = (
    *_SHARED_EVENTS,
    *"on_sanity_check_start on_sanity_check_end on_exception state_dict load_state_dict".split(),
)
DATA_EVENTS = tuple(
    """
    prepare_data setup teardown train_dataloader val_dataloader test_dataloader predict_dataloader on_exception
    state_dict load_state_dict
    """.split()
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
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return f"tensor{list(value.shape)}" if value.ndim else f"{value.item():.6g}"
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
    hook.__signature__ = signature  # type: ignore[attr-defined]
    return hook


def _arguments(signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if name in _WITHOUT_ARGUMENTS:
        return ""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()  # whether a default was passed or left out is the same call
    left_out = ("self", "trainer", "pl_module")
    return ", ".join(f"{key}={shown(value)}" for key, value in bound.arguments.items() if key not in left_out)
