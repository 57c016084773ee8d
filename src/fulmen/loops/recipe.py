"""What a training step is made of, decided once.

Which function computes the loss, in which context, what backward, clipping and updating mean. An override costs its
owner only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from fulmen.core.module import LightningModule, overridden
from fulmen.core.optimization import OptimizationMixin
from fulmen.loops.signatures import check_step
from fulmen.loops.watch import watch, watch_strategy
from fulmen.precision.precision import Precision
from fulmen.strategies.overrides import override, then, through
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.generations import stand_in
from fulmen.utilities.tree import apply_to_collection

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def step_function(
    module: LightningModule, name: str, arguments: int, strategy: Strategy | None = None
) -> Callable[..., Any]:
    """A module's step, compiled if the module was handed over compiled, for a fixed number of arguments.

    Args:
        module: The module.
        name: ``"training_step"`` or one of its sisters.
        arguments: How many arguments it will get.
        strategy: Whose method of that name is called in its place where somebody overrides that.

    Returns:
        The step; one that takes fewer than two arguments gets the batch alone.

    Raises:
        MisconfigurationException: If it cannot take them.
    """
    method: Callable[..., Any] = stand_in(module, name)
    wrap: Callable[[Any], Any] | None = module.__dict__.get("_compiled_by")
    compiled = wrap(method) if wrap is not None else method
    if strategy is not None:
        compiled = through(strategy, name, compiled)
    signature = inspect.signature(method)
    if "dataloader_iter" in signature.parameters:
        raise MisconfigurationException(
            f"`{name}` gets a batch and its index; it cannot take the loader's iterator.",
            got=f"def {name}{signature}",
            fix=f"Write `def {name}(self, batch, batch_idx)`; to see several batches at once, make the loader return "
            "them together (a larger batch, or a `CombinedLoader`).",
        )
    takes = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    anything = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if arguments == 2 and len(takes) == 1 and not anything:
        return lambda batch, batch_idx: compiled(batch)
    check_step(method, name, arguments)
    return compiled


def step_context(strategy: Strategy, name: str, context: str) -> Callable[[], Any] | None:
    """What a loop opens around a step.

    Args:
        strategy: The strategy.
        name: ``"training_step"`` or one of its sisters.
        context: The method of the precision that makes it.

    Returns:
        None also where somebody's own strategy decides when it is open.
    """
    precision = strategy.precision_plugin
    opens = precision.needs_context and override(strategy, name) is None
    return getattr(precision, context) if opens else None


class Recipe:
    """The pieces of a training step. None stands for "nothing to do here".

    Args:
        trainer: Whose settings.
        module: Whose overrides.
        gathers: Whether gradients of several processes are brought together after backward, and not by it.

    Attributes:
        gather: Makes gradients the mean over processes; None where that is not needed.
        complete: Complains where backward could not do so itself; None where it always can.
        update: Steps an optimizer; is given the model and a closure by name.
        stranger: The strategy or precision whose `update` was written by somebody else: it may call its closure when,
            and as often as, it likes.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, gathers: bool = False) -> None:
        self.gather = trainer.strategy.sync_gradients if gathers and trainer.strategy.world_size > 1 else None
        self.complete: Callable[[], None] | None = None
        precision = trainer.strategy.precision_plugin
        self.step = then(
            step_function(module, "training_step", 2, trainer.strategy),
            _without_arguments(override(trainer.strategy, "post_training_step")),
        )
        self.context = step_context(trainer.strategy, "training_step", "train_step_context")
        if trainer.strategy._optimizer_names and precision.needs_context:  # a step that yields runs on after its call
            self.context = precision.train_step_context
        self.scale = precision.pre_backward if _own(precision, "pre_backward") else None
        self.backward = overridden(module, "backward", OptimizationMixin)
        self.precision_backward = precision.backward if _own(precision, "backward") else None
        self.post_backward = precision.post_backward if _own(precision, "post_backward") else None
        self.zero_grad = overridden(module, "optimizer_zero_grad", OptimizationMixin)
        self.optimizer_step = overridden(module, "optimizer_step", OptimizationMixin)
        self.clip = overridden(module, "configure_gradient_clipping", OptimizationMixin)
        self.clip_value = trainer.gradient_clip_val
        self.clip_algorithm = trainer.gradient_clip_algorithm
        self.precision = precision
        self.unscale = precision.unscale_gradients if getattr(precision, "scaler", None) is not None else None
        self.update, self.stranger = _update(trainer.strategy)
        if trainer.profile_wrapper() is not None:
            self._watch(trainer, module)

    def stepper(self, module: LightningModule) -> object:
        """Whose ``optimizer_step`` is the first to be handed the closure."""
        return module if self.optimizer_step is not None or self.stranger is None else self.stranger

    def _watch(self, trainer: Trainer, module: LightningModule) -> None:
        """Puts the profiler around the pieces that there are, and around those that take time without an override."""
        self.step = watch_strategy(trainer, "training_step", self.step)
        self.update = watch_strategy(trainer, "optimizer_step", self.update or plain_update)
        for piece, hook, runs in (
            ("backward", "backward", self.backward),
            ("zero_grad", "optimizer_zero_grad", True),
            ("optimizer_step", "optimizer_step", self.optimizer_step),
            ("clip", "configure_gradient_clipping", self.clip or self.clip_value),
        ):
            if runs:
                action = f"[LightningModule]{type(module).__name__}.{hook}"
                setattr(self, piece, watch(trainer, action, stand_in(module, hook)))


def _without_arguments(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    return None if function is None else lambda *_: function()


def _own(precision: Precision, name: str) -> bool:
    return overridden(precision, name, Precision) is not None


def _update(strategy: Strategy) -> tuple[Callable[..., Any] | None, object]:
    """How a strategy or its precision steps an optimizer, and which of them if somebody else wrote that."""
    precision = strategy.precision_plugin
    method = overridden(strategy, "optimizer_step", Strategy)
    if method is not None:

        def update(optimizer: Optimizer, model: Any, closure: Callable[[], Any], **kwargs: Any) -> Any:
            return method(optimizer, closure, **kwargs)

        return update, None if _from_here(method) else strategy
    if not _own(precision, "optimizer_step"):
        return None, None
    if not _from_here(precision.optimizer_step):
        return precision.optimizer_step, precision
    # without a scaler ours do what the optimizer does
    return None if precision.scaler is None else precision.optimizer_step, None


def _from_here(method: Callable[..., Any]) -> bool:
    return str(getattr(method, "__module__", "")).startswith("fulmen.")


def plain_update(optimizer: Optimizer, model: Any, closure: Callable[[], Any], **kwargs: Any) -> Any:
    """An update in which the precision has no part.

    Args:
        optimizer: The optimizer.
        model: The model.
        closure: Computes loss and gradients.
        **kwargs: For the optimizer's own ``step``.

    Returns:
        What the optimizer's ``step`` returned, or the closure.
    """
    if needs_closure(optimizer):
        return optimizer.step(closure, **kwargs)
    result = closure()
    optimizer.step(**kwargs)
    return result


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether an optimizer must be given a closure.

    PyTorch's own say so in their signature. Those of others get one whenever they accept it, since some compute the
    loss again although they do not insist.
    """
    step = type(optimizer).step
    if "closure" not in inspect.signature(step).parameters:
        return False
    return insists_on_closure(optimizer) or not step.__module__.startswith("torch.optim")


def insists_on_closure(optimizer: Optimizer) -> bool:
    """Whether an optimizer cannot step without a closure, as it decides by the loss where to go."""
    parameter = inspect.signature(type(optimizer).step).parameters.get("closure")
    return parameter is not None and parameter.default is parameter.empty


def outputs_of(output: Any, loss: Tensor) -> dict[str, Any]:
    """What hooks get of what ``training_step`` returned, with the loss that backward ran on."""
    extras = apply_to_collection(output, Tensor, Tensor.detach) if isinstance(output, dict) else {}
    return {**extras, "loss": loss.detach()}
