"""Backward where it goes through a method of somebody's own strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.strategies.overrides import through

if TYPE_CHECKING:
    from fulmen.loops.optimize import Automatic


def let_strategy_run_backward(optimization: Automatic) -> None:
    """Has backward go through somebody's own strategy, where there is one that overrides a part of it.

    Args:
        optimization: Whose backward.
    """
    inner, reached = optimization.backward, False

    def noted(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal reached
        reached = True
        return inner(*args, **kwargs)

    outer = through(optimization.trainer.strategy, "backward", noted, "pre_backward", "post_backward")
    if outer is noted:
        return

    def backward(*args: Any, **kwargs: Any) -> None:
        nonlocal reached
        reached = False
        outer(*args, **kwargs)
        if not reached and optimization.closed:  # it has run backward by itself
            optimization._complete()

    optimization.__dict__["backward"] = backward
