"""Methods of a user's class that take what 1.x passed, called with what there is today."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.optim import LBFGS, Optimizer

from fulmen.compat.v1.heard import described, present, put, taken, users
from fulmen.compat.v1.hints import hint
from fulmen.core.optimizer import LightningOptimizer, do_nothing_closure
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.callbacks.callback import Callback
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer

_INDEX = {"optimizer_idx", "opt_idx"}
# What 1.x passed, in order, and names that people gave these arguments.
_STEP = ("epoch", "batch_idx", "optimizer", "optimizer_idx", "optimizer_closure")
_STEP_NAMES = {
    "current_epoch": "epoch", "epoch_nb": "epoch", "batch_nb": "batch_idx", "opt_idx": "optimizer_idx",
    "optimizer_i": "optimizer_idx", "second_order_closure": "optimizer_closure", "closure": "optimizer_closure",
}  # fmt: skip
_STEP_FLAGS = ("on_tpu", "using_native_amp", "using_lbfgs")
_HOOKS = {"optimizer_zero_grad": 4, "on_before_optimizer_step": 2, "lr_scheduler_step": 3, "backward": 3}


def index_of(trainer: Trainer, optimizer: Any) -> int:
    """The number of an optimizer among those of a run; 0 if it is none of them.

    Args:
        trainer: The Trainer.
        optimizer: The optimizer, wrapped or not.
    """
    inner = optimizer.optimizer if type(optimizer) is LightningOptimizer else optimizer
    return next((i for i, one in enumerate(trainer.optimizers) if one is inner), 0)


def put_old_calls(trainer: Trainer, module: LightningModule) -> None:
    """Has those of a module's methods that are written for 1.x called as then.

    Args:
        trainer: Who runs it.
        module: The module.
    """
    method = users(module, "optimizer_step")
    if method is not None and _is_old_step(method):
        hint("`optimizer_step` with `optimizer_idx`", _today("optimizer_step", "epoch, batch_idx, optimizer, "
             "optimizer_closure"))  # fmt: skip
        put(module, "optimizer_step", _optimizer_step(trainer, present(module, "optimizer_step")))
    for name, make, arguments in (
        ("optimizer_zero_grad", _zero_grad, "epoch, batch_idx, optimizer"),
        ("on_before_optimizer_step", _before_step, "optimizer"),
        ("lr_scheduler_step", _scheduler_step, "scheduler, metric"),
        ("backward", _backward, "loss"),
    ):
        method = users(module, name)
        if method is not None and _has_index(method, _HOOKS[name]):
            hint(f"`{name}` with `optimizer_idx`", _today(name, arguments))
            put(module, name, make(trainer, present(module, name)))
    method = users(module, "configure_gradient_clipping")
    if method is not None and (_INDEX & set(taken(method)[0]) or len(taken(method)[0]) == 4):
        hint("`configure_gradient_clipping` with `optimizer_idx`", _today("configure_gradient_clipping", "optimizer, "
             "gradient_clip_val=None, gradient_clip_algorithm=None"))  # fmt: skip
        put(module, "configure_gradient_clipping", _clipping(trainer, present(module, "configure_gradient_clipping")))


def put_callback_calls(trainer: Trainer, callback: Callback) -> None:
    """Has ``on_before_optimizer_step(trainer, pl_module, optimizer, opt_idx)`` of a callback called as in 1.x.

    Args:
        trainer: Who runs it.
        callback: The callback.
    """
    name = "on_before_optimizer_step"
    method = users(callback, name)
    if method is not None and _has_index(method, 4):
        hint(f"`Callback.{name}` with `opt_idx`", _today(name, "trainer, pl_module, optimizer"))
        called = present(callback, name)

        def on_before_optimizer_step(trainer: Any, pl_module: Any, optimizer: Any) -> Any:
            return called(trainer, pl_module, optimizer, index_of(trainer, optimizer))

        put(callback, name, on_before_optimizer_step)


def put_scheduler_turns(trainer: Trainer, module: LightningModule) -> None:
    """Has schedulers that step with the optimizer wait while another optimizer is at work.

    Args:
        trainer: Who runs the module.
        module: The module.
    """
    step = present(module, "lr_scheduler_step")

    @functools.wraps(step)
    def lr_scheduler_step(scheduler: Any, metric: Any) -> Any:
        config = next((one for one in trainer.lr_scheduler_configs if one.scheduler is scheduler), None)
        works = getattr(trainer.fit_loop.optimization, "works", None)
        if config is not None and config.interval == "step" and works is not None:
            optimizer = getattr(scheduler, "optimizer", None)
            if optimizer is not None and not works(optimizer):
                return None
        return step(scheduler, metric)

    put(module, "lr_scheduler_step", lr_scheduler_step)


def _today(name: str, arguments: str) -> str:
    return f"`def {name}(self, {arguments})`; an optimizer's number is `self.optimizers().index(optimizer)`."


def _has_index(method: Callable[..., Any], places: int) -> bool:
    names, required = taken(method)
    return bool(_INDEX & set(names)) or required >= places


def _is_old_step(method: Callable[..., Any]) -> bool:
    names, required = taken(method)
    return bool((_INDEX | set(_STEP_FLAGS) | {"second_order_closure", "optimizer_i"}) & set(names)) or required > 4


def _optimizer_step(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    parameters = inspect.signature(described(method)).parameters.values()
    kinds = {one.kind for one in inspect.signature(method).parameters.values()}
    by_place = inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD not in kinds
    plan = [(one.name, _STEP_NAMES.get(one.name, one.name)) for one in parameters if one.kind not in (
        one.VAR_POSITIONAL, one.VAR_KEYWORD
    )]  # fmt: skip
    # a name that nobody knows stands for what 1.x passed in its place
    plan = [
        (name, meant if meant in (*_STEP, *_STEP_FLAGS) or place >= len(_STEP) else _STEP[place])
        for place, (name, meant) in enumerate(plan)
    ]
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters)

    def optimizer_step(epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any]) -> Any:
        closure = _Closure(optimizer_closure)
        values = {
            "epoch": epoch, "batch_idx": batch_idx, "optimizer": optimizer, "optimizer_closure": closure,
            "optimizer_idx": index_of(trainer, optimizer), "on_tpu": False,
            "using_lbfgs": isinstance(optimizer, LBFGS),
            "using_native_amp": "mixed" in str(trainer.precision),
        }  # fmt: skip
        given = {name: values[meant] for name, meant in plan if meant in values}
        if anything:
            given |= {name: values[name] for name in ("on_tpu", "using_lbfgs") if name not in given}
        with closure.stepping(optimizer):
            if by_place:
                method(*given.values())
            else:
                method(**given)
        if not closure.ran:
            warn_once(
                "`optimizer_step` did not run its closure, so the batch was not trained with that optimizer: so it was "
                "up to Lightning 1.4. Call `optimizer_closure()` where the optimizer does not step."
            )
            trainer.fit_loop.optimization._ran = True  # type: ignore[union-attr]

    return optimizer_step


class _Closure:
    """A closure that knows whether it ran, for optimizers that are stepped without one, as up to 1.2.

    Args:
        function: The closure.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.ran = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.ran = True
        return self.function()

    def stepping(self, optimizer: Any) -> _Stepping:
        """In this context ``optimizer.step()`` runs the closure where nobody did."""
        return _Stepping(self, optimizer)


class _Stepping:
    def __init__(self, closure: _Closure, optimizer: Any) -> None:
        self.closure, self.optimizer = closure, optimizer

    def __enter__(self) -> None:
        self.before = before = self.optimizer._stepper
        closure = self.closure

        def step(optimizer: Optimizer, given: Callable[[], Any], **kwargs: Any) -> Any:
            missing = given is do_nothing_closure and not closure.ran
            return before(optimizer, closure if missing else given, **kwargs)

        self.optimizer._stepper = step

    def __exit__(self, *args: object) -> None:
        self.optimizer._stepper = self.before


def _zero_grad(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    def optimizer_zero_grad(epoch: int, batch_idx: int, optimizer: Any) -> Any:
        return method(epoch, batch_idx, optimizer, index_of(trainer, optimizer))

    return optimizer_zero_grad


def _before_step(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    def on_before_optimizer_step(optimizer: Any) -> Any:
        return method(optimizer, index_of(trainer, optimizer))

    return on_before_optimizer_step


def _scheduler_step(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    def lr_scheduler_step(scheduler: Any, metric: Any) -> Any:
        return method(scheduler, index_of(trainer, getattr(scheduler, "optimizer", None)), metric)

    return lr_scheduler_step


def _backward(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    def backward(loss: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer = getattr(trainer.fit_loop.optimization, "optimizer", None)  # under manual optimization nobody knows
        return method(loss, optimizer, None if optimizer is None else index_of(trainer, optimizer), *args, **kwargs)

    return backward


def _clipping(trainer: Trainer, method: Callable[..., Any]) -> Callable[..., Any]:
    def configure_gradient_clipping(
        optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> Any:
        index = index_of(trainer, optimizer)
        return method(optimizer, index, gradient_clip_val, gradient_clip_algorithm)

    return configure_gradient_clipping
