"""``@auto_move_data`` of 1.x."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fulmen.compat.v1.hints import hint
from fulmen.utilities.tree import move_data_to_device


def auto_move_data(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a method of a module, such as ``forward``: its arguments are moved to the module's device.

    Args:
        fn: The method.
    """

    @functools.wraps(fn)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        hint("`@auto_move_data`", "`self.transfer_batch_to_device(batch, self.device, 0)`, or `trainer.predict`.")
        args, kwargs = move_data_to_device((args, kwargs), self.device)
        return fn(self, *args, **kwargs)

    return moved
