"""A callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fulmen.callbacks.callback import Callback
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import taught

Hook = Callable[..., Any] | None


@taught
class LambdaCallback(Callback):
    """Calls functions at events, without a class.

    Args:
        setup: A function for the event of that name, with the arguments of :meth:`Callback.setup`; likewise all others.

    Raises:
        MisconfigurationException: If one of them cannot be called.

    Example:
        >>> started = LambdaCallback(on_train_start=lambda trainer, module: print("off we go"))
        >>> started.on_train_start(None, None)
        off we go
    """

    def __init__(
        self,
        setup: Hook = None,
        teardown: Hook = None,
        on_fit_start: Hook = None,
        on_fit_end: Hook = None,
        on_sanity_check_start: Hook = None,
        on_sanity_check_end: Hook = None,
        on_train_batch_start: Hook = None,
        on_train_batch_end: Hook = None,
        on_train_epoch_start: Hook = None,
        on_train_epoch_end: Hook = None,
        on_validation_epoch_start: Hook = None,
        on_validation_epoch_end: Hook = None,
        on_test_epoch_start: Hook = None,
        on_test_epoch_end: Hook = None,
        on_validation_batch_start: Hook = None,
        on_validation_batch_end: Hook = None,
        on_test_batch_start: Hook = None,
        on_test_batch_end: Hook = None,
        on_train_start: Hook = None,
        on_train_end: Hook = None,
        on_validation_start: Hook = None,
        on_validation_end: Hook = None,
        on_test_start: Hook = None,
        on_test_end: Hook = None,
        on_exception: Hook = None,
        on_save_checkpoint: Hook = None,
        on_load_checkpoint: Hook = None,
        on_before_backward: Hook = None,
        on_after_backward: Hook = None,
        on_before_optimizer_step: Hook = None,
        on_before_zero_grad: Hook = None,
        on_predict_start: Hook = None,
        on_predict_end: Hook = None,
        on_predict_batch_start: Hook = None,
        on_predict_batch_end: Hook = None,
        on_predict_epoch_start: Hook = None,
        on_predict_epoch_end: Hook = None,
    ) -> None:
        given = {name: function for name, function in locals().items() if name in _HOOKS and function is not None}
        for name, function in given.items():
            if not callable(function):
                raise MisconfigurationException(
                    f"`LambdaCallback({name}=...)` takes a function.",
                    got=function,
                    fix=f"`LambdaCallback({name}=lambda trainer, module, *rest: ...)`.",
                )
            setattr(self, name, function)


_HOOKS = frozenset(name for name in vars(Callback) if name.startswith("on_")) | {"setup", "teardown"}
