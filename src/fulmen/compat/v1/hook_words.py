"""The hooks of 1.x on our classes, where they do nothing: for ``super().on_epoch_end()`` and for those who ask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_REGISTRATIONS = ("register_buffer", "register_parameter", "add_module")

MODULE = (
    "training_step_end", "validation_step_end", "test_step_end", "training_epoch_end", "validation_epoch_end",
    "test_epoch_end", "on_epoch_start", "on_epoch_end", "on_batch_start", "on_batch_end", "on_pretrain_routine_start",
    "on_pretrain_routine_end", "on_post_move_to_device", "on_train_dataloader", "on_val_dataloader",
    "on_test_dataloader", "on_predict_dataloader",
)  # fmt: skip
DATAMODULE = ("on_train_dataloader", "on_val_dataloader", "on_test_dataloader", "on_predict_dataloader")
CALLBACK = (
    "on_epoch_start", "on_epoch_end", "on_batch_start", "on_batch_end", "on_pretrain_routine_start",
    "on_pretrain_routine_end", "on_before_accelerator_backend_setup", "on_configure_sharded_model",
    "on_keyboard_interrupt", "on_init_start", "on_init_end",
)  # fmt: skip


class InstanceFirst:
    """A name on a class that gives way to whatever an instance has under it, layers and tensors included.

    Args:
        value: A function, or another descriptor.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is not None:
            for table in ("_modules", "_parameters", "_buffers"):
                held = instance.__dict__.get(table)
                if held and self.name in held:
                    return held[self.name]
            if sys._getframe(1).f_code.co_name in _REGISTRATIONS:  # torch asks whether the name is taken
                raise AttributeError(self.name)
        return self.value.__get__(instance, owner)


def quiet(name: str) -> InstanceFirst:
    """A hook that does nothing, for the class of words.

    Args:
        name: The hook.
    """

    def hook(self: object, *args: Any, **kwargs: Any) -> None:
        return None

    hook.__name__, hook.__qualname__ = name, name
    word = InstanceFirst(hook)
    word.name = name
    return word


def add_hooks(names: tuple[str, ...]) -> Callable[[type], type]:
    """Decorates a class of words: adds hooks that do nothing.

    Args:
        names: The hooks.
    """

    def decorate(words: type) -> type:
        for name in names:
            setattr(words, name, quiet(name))
        return words

    return decorate
