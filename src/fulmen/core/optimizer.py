"""The optimizer that a module's code gets to see: PyTorch's own, whose ``step`` takes part in the run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from torch.optim import Optimizer

from fulmen.utilities.exceptions import MisconfiguredType

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule


def do_nothing_closure() -> None:
    """The closure of a step that was given none."""


class Stepper(Protocol):
    """What carries out a step: precision, hooks and counters around ``optimizer.step``."""

    def __call__(self, optimizer: Optimizer, closure: Callable[[], Any], **kwargs: Any) -> Any:
        """Runs the closure and the optimizer."""


class LightningOptimizer:
    """Wraps an optimizer so that ``step`` obeys the run's precision, calls its hooks and counts.

    Everything else is the wrapped optimizer's: attributes are read from and written to it, and ``isinstance`` holds
    for its class too.

    Args:
        optimizer: The optimizer to wrap.
    """

    _own = ("_optimizer", "_module", "_stepper")

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._module: LightningModule | None = None
        self._stepper: Stepper | None = None

    @property
    def optimizer(self) -> Optimizer:
        """The wrapped optimizer."""
        return self._optimizer

    # isinstance() asks the type first and this second, so both classes hold
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._optimizer)

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Steps the optimizer in the run's precision.

        Args:
            closure: Computes the loss anew; called once, or as often as the optimizer asks.
            **kwargs: For the optimizer's own ``step``.

        Returns:
            What the optimizer's ``step`` returned.

        Raises:
            TypeError: If `closure` cannot be called.
        """
        if closure is None:
            closure = do_nothing_closure
        elif not callable(closure):
            raise MisconfiguredType(
                "`closure` of `optimizer.step` is a function without arguments.",
                got=type(closure).__name__,
                fix="`optimizer.step()`, or `optimizer.step(closure=lambda: compute_loss())`.",
            )
        if self._stepper is not None:
            return self._stepper(self._optimizer, closure, **kwargs)
        step: Callable[..., Any] = self._optimizer.step
        return step(closure, **kwargs)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Generator[None]:
        """Lets only this optimizer's parameters collect gradients inside the ``with`` block.

        Args:
            sync_grad: Whether processes exchange gradients in the block; with one process it changes nothing.
        """
        assert self._module is not None
        with self._module.toggled_optimizer(self):
            yield

    def __getattr__(self, name: str) -> Any:
        if name in LightningOptimizer._own:
            raise AttributeError(name)
        return getattr(self._optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # a scheduler puts itself around `step`: around this one, since the optimizer's own would call it again
        if name in LightningOptimizer._own or name == "step":
            object.__setattr__(self, name, value)
        else:
            setattr(self._optimizer, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return LightningOptimizer, (self._optimizer,)

    def __repr__(self) -> str:
        return f"Lightning{self._optimizer!r}"
