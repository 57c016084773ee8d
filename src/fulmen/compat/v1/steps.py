"""``training_step_end`` and its sisters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fulmen.compat.v1.former import Former, former_of
from fulmen.compat.v1.heard import present, put, users
from fulmen.compat.v1.hints import hint

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


def adapt_module(trainer: Trainer, module: LightningModule) -> None:
    """Puts a module's ``*_step_end`` behind its steps, for the run.

    Args:
        trainer: The Trainer.
        module: The module.
    """
    for step in ("training_step", "validation_step", "test_step"):
        end = users(module, f"{step}_end")
        if end is not None:
            hint(f"`{step}_end`", f"do it at the end of `{step}`.")
            put(module, step, _ended(former_of(trainer, module), present(module, step), f"{step}_end", end))


def _ended(former: Former, step: Callable[..., Any], name: str, end: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def ended(*args: Any, **kwargs: Any) -> Any:
        output = step(*args, **kwargs)
        with former.hook(name):
            replaced = end(output)
        return output if replaced is None else replaced

    return ended
