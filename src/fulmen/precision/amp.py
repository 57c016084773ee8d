"""Mixed precision: operations in half precision where that is safe, parameters in single."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import OptState
from torch.optim import LBFGS, Optimizer

from fulmen.precision.precision import Precision
from fulmen.utilities.enums import GradClipAlgorithmType
from fulmen.utilities.exceptions import MisconfigurationException

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class MixedPrecision(Precision):
    """Automatic mixed precision. In ``float16``, losses are scaled so that small gradients do not vanish.

    Args:
        precision: ``"16-mixed"`` or ``"bf16-mixed"``.
        device: Where the model runs, or the type of it.
        scaler: Scales the losses of ``"16-mixed"``; None makes a ``torch.amp.GradScaler``.

    Raises:
        MisconfigurationException: If the precision is another, or a scaler is given for ``"bf16-mixed"``.
    """

    # Whether the optimizers that step now were given losses of one scale, so that it may not change between them.
    _together = False

    def __init__(self, precision: str, device: str | torch.device, scaler: torch.amp.GradScaler | None = None) -> None:
        if precision not in _DTYPES:
            raise MisconfigurationException(
                '`MixedPrecision` is either "16-mixed" or "bf16-mixed".',
                got=precision,
                fix=f'`MixedPrecision("bf16-mixed", {str(device)!r})`.',
            )
        self.precision = precision
        self.device = torch.device(device).type
        if precision == "16-mixed":
            self.scaler = torch.amp.GradScaler(self.device) if scaler is None else scaler
        elif scaler is not None:
            raise MisconfigurationException(
                '`"bf16-mixed"` takes no scaler: the exponents of bfloat16 are as large as those of float32.',
                got=type(scaler).__name__,
                fix='Leave `scaler` away, or use `"16-mixed"`.',
            )

    def autocast_context_manager(self) -> torch.autocast:
        """A new context that casts operations."""
        # Without the cache: a weight that is first cast under `no_grad` would be handed out again without a graph.
        return torch.autocast(self.device, dtype=_DTYPES[self.precision], cache_enabled=False)

    def forward_context(self) -> AbstractContextManager[Any]:
        return self.autocast_context_manager()

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        if self.scaler is not None:
            for optimizer in optimizers:
                _refuse_lbfgs(optimizer)
        return model, optimizers, lr_schedulers

    def pre_backward(self, tensor: Tensor, module: nn.Module | None) -> Tensor:
        if self.scaler is None:
            return tensor
        scaled: Tensor = self.scaler.scale(tensor)
        return scaled

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        scaler = self.scaler
        # The scaler's own record, since `unscale_` may also have been called on it from outside.
        if (
            scaler is not None
            and not _unscales_itself(optimizer)
            and scaler._per_optimizer_states[id(optimizer)]["stage"] is OptState.READY
            and self._has_gradients(optimizer)
        ):
            scaler.unscale_(optimizer)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float | None = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType | str = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clips the gradients of an optimizer's parameters, unscaled: a limit on scaled ones would mean nothing.

        Args:
            optimizer: Whose parameters.
            clip_val: The largest norm or element; None, 0 and less clip nothing.
            gradient_clip_algorithm: ``"norm"``, over all groups together, or ``"value"``.

        Raises:
            MisconfigurationException: If the algorithm is neither, or the optimizer unscales inside its step.
        """
        if clip_val is None or clip_val <= 0:
            return
        if self.scaler is not None and _unscales_itself(optimizer):
            raise MisconfigurationException(
                f"`{type(optimizer).__name__}` unscales gradients inside its step, after they would be clipped.",
                got='gradient clipping with `precision="16-mixed"` and an optimizer such as one with `fused=True`',
                fix='Make the optimizer with `fused=False`, or train with `precision="bf16-mixed"`.',
            )
        self.unscale_gradients(optimizer)
        super().clip_gradients(optimizer, clip_val, gradient_clip_algorithm)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: nn.Module | None,
        closure: Callable[[], Any],
        **kwargs: Any,
    ) -> Any:
        """Steps an optimizer; where losses are scaled, only if its gradients are finite.

        Args:
            optimizer: The optimizer.
            model: The model.
            closure: Computes the loss and its gradients.
            **kwargs: For the optimizer's own ``step``.

        Returns:
            What the closure returned where losses are scaled, else what the optimizer's ``step`` returned.

        Raises:
            MisconfigurationException: If losses are scaled and the optimizer is LBFGS.
        """
        if self.scaler is None:
            return super().optimizer_step(optimizer, model, closure, **kwargs)
        _refuse_lbfgs(optimizer)
        computed = closure()
        if self._has_gradients(optimizer):
            self.unscale_gradients(optimizer)
            self.scaler.step(optimizer, **kwargs)
            if not self._together:
                self.scaler.update()
        else:
            # A scaler refuses to judge gradients that do not exist, as after batches that were all skipped.
            optimizer.step(**kwargs)
        return computed

    @contextlib.contextmanager
    def one_update(self) -> Generator[None]:
        self._together = True
        try:
            yield
        finally:
            self._together = False
            # A scaler refuses to judge where none of the optimizers had gradients.
            if self.scaler is not None and any(s["found_inf_per_device"] for s in self._states()):
                self.scaler.update()

    def _states(self) -> Iterable[Any]:
        return () if self.scaler is None else self.scaler._per_optimizer_states.values()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scaler is None else dict(self.scaler.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.scaler is not None and state_dict:
            self.scaler.load_state_dict(state_dict)

    def _has_gradients(self, optimizer: Optimizer) -> bool:
        return any(parameter.grad is not None for parameter in self.main_params(optimizer))


def _unscales_itself(optimizer: Optimizer) -> bool:
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _refuse_lbfgs(optimizer: Optimizer) -> None:
    if isinstance(optimizer, LBFGS):
        raise MisconfigurationException(
            '`precision="16-mixed"` and `LBFGS` do not go together: it computes the loss several times a step, and '
            "gradients are unscaled once.",
            fix='`precision="bf16-mixed"` or `precision="32-true"`.',
        )
