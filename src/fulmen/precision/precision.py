"""What Fulmen asks of a precision: how numbers look, and what that means for a step."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from fulmen.utilities.enums import GradClipAlgorithmType
from fulmen.utilities.exceptions import MisconfigurationException

_NULL: AbstractContextManager[None] = nullcontext()
_CONTEXTS = (
    "forward_context",
    "train_step_context",
    "val_step_context",
    "test_step_context",
    "predict_step_context",
)


class Precision:
    """Numbers as they are made: single precision (``"32-true"``), and the contract of all others.

    A precision knows PyTorch alone. It calls no hook of a module, so that its caller can put the hooks where they
    belong. Every method is given PyTorch's own optimizers.
    """

    precision: str = "32-true"
    scaler: Any = None
    """The ``GradScaler`` of a precision that scales its losses, else None."""

    @property
    def needs_context(self) -> bool:
        """Whether a step must run in this precision's context. Where it need not, callers leave the ``with`` away."""
        return any(getattr(type(self), name) is not getattr(Precision, name) for name in _CONTEXTS)

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Takes the parts of a run before it begins, and may replace them.

        Args:
            model: The model, on its device.
            optimizers: Its optimizers.
            lr_schedulers: Their schedulers.

        Returns:
            The three, in that order.
        """
        return model, optimizers, lr_schedulers

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Gives a module's parameters and buffers this precision."""
        return module

    def convert_input(self, data: Any) -> Any:
        """Gives a batch this precision."""
        return data

    def convert_output(self, data: Any) -> Any:
        """Gives what a step returned the precision that its user expects."""
        return data

    def forward_context(self) -> AbstractContextManager[Any]:
        """The context in which a model computes."""
        return _NULL

    def train_step_context(self) -> AbstractContextManager[Any]:
        """The context of ``training_step``."""
        return self.forward_context()

    def val_step_context(self) -> AbstractContextManager[Any]:
        """The context of ``validation_step``."""
        return self.forward_context()

    def test_step_context(self) -> AbstractContextManager[Any]:
        """The context of ``test_step``."""
        return self.forward_context()

    def predict_step_context(self) -> AbstractContextManager[Any]:
        """The context of ``predict_step``."""
        return self.forward_context()

    def module_init_context(self) -> AbstractContextManager[Any]:
        """The context in which layers are made, so that they have this precision from the start."""
        return _NULL

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """The context in which tensors are made, so that they have this precision from the start."""
        return _NULL

    def pre_backward(self, tensor: Tensor, module: nn.Module | None) -> Tensor:
        """Prepares a loss for backward, by scaling it for example.

        Args:
            tensor: The loss, a scalar.
            module: The model.

        Returns:
            What to run backward on.
        """
        return tensor

    def backward(
        self, tensor: Tensor, model: nn.Module | None, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> None:
        """Runs backward.

        Args:
            tensor: What :meth:`pre_backward` returned.
            model: The model.
            optimizer: The optimizer that will step, if it is known.
            *args: For ``tensor.backward``.
            **kwargs: For ``tensor.backward``.
        """
        tensor.backward(*args, **kwargs)

    def post_backward(self, tensor: Tensor, module: nn.Module | None) -> None:
        """Called after backward.

        Args:
            tensor: What backward ran on.
            module: The model.
        """

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Divides gradients by what :meth:`pre_backward` multiplied the loss with. A second call in a step is idle."""

    def main_params(self, optimizer: Optimizer) -> Generator[Parameter]:
        """The parameters of all groups of an optimizer."""
        for group in optimizer.param_groups:
            yield from group["params"]

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float | None = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType | str = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clips the gradients of an optimizer's parameters.

        Args:
            optimizer: Whose parameters.
            clip_val: The largest norm or element; None, 0 and less clip nothing.
            gradient_clip_algorithm: ``"norm"``, over all groups together, or ``"value"``.

        Raises:
            MisconfigurationException: If the algorithm is neither.
        """
        if clip_val is None or clip_val <= 0:
            return
        if gradient_clip_algorithm == GradClipAlgorithmType.NORM:
            self.clip_grad_by_norm(optimizer, clip_val)
        elif gradient_clip_algorithm == GradClipAlgorithmType.VALUE:
            self.clip_grad_by_value(optimizer, clip_val)
        else:
            raise MisconfigurationException(
                '`gradient_clip_algorithm` is either "norm" or "value".',
                got=gradient_clip_algorithm,
                fix='`Trainer(gradient_clip_val=1.0, gradient_clip_algorithm="norm")`.',
            )

    def clip_grad_by_norm(self, optimizer: Optimizer, clip_val: int | float) -> None:
        """Scales all gradients down together so that their norm is at most `clip_val`."""
        torch.nn.utils.clip_grad_norm_(self.main_params(optimizer), clip_val)

    def clip_grad_by_value(self, optimizer: Optimizer, clip_val: int | float) -> None:
        """Limits every element of every gradient to ``[-clip_val, clip_val]``."""
        with_gradient = [parameter for parameter in self.main_params(optimizer) if parameter.grad is not None]
        if with_gradient:  # torch takes no empty list; a skipped batch leaves no gradients
            torch.nn.utils.clip_grad_value_(with_gradient, clip_val)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: nn.Module | None,
        closure: Callable[[], Any],
        **kwargs: Any,
    ) -> Any:
        """Steps an optimizer.

        Args:
            optimizer: The optimizer.
            model: The model.
            closure: Computes the loss and its gradients.
            **kwargs: For the optimizer's own ``step``.

        Returns:
            What the optimizer's ``step`` returned.
        """
        return optimizer.step(closure=closure, **kwargs)

    def one_update(self) -> AbstractContextManager[Any]:
        """The context in which several optimizers step on losses that were computed and scaled together."""
        return _NULL

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of it."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what :meth:`state_dict` gave."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with a checkpoint before it is written: add to it what you need back."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called with a checkpoint before the state of this precision is loaded."""

    def teardown(self) -> None:
        """Called when a run ends."""
