"""What a module says about optimization: hooks with a default that can be overridden, and tools for manual control."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from fulmen.core.optimizer import LightningOptimizer
from fulmen.utilities.enums import GradClipAlgorithmType
from fulmen.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def _parameters_of(optimizer: Optimizer | LightningOptimizer) -> Iterator[Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


class OptimizationMixin:
    """The part of ``LightningModule`` that deals with optimizers."""

    _toggled: dict[Parameter, bool]
    if TYPE_CHECKING:  # others ask for the hints of their own modules, where this name is not defined
        trainer: Trainer

    def configure_optimizers(self) -> Any:
        """Makes the optimizers and learning rate schedulers.

        Returns:
            One of: an optimizer; a list of optimizers; two lists, of optimizers and of schedulers (or scheduler
            dicts); a dict with ``"optimizer"`` and, if wanted, ``"lr_scheduler"``; several such dicts; a dict of two
            or more optimizers, or such dicts, by names of your own, for a `training_step` that gives a loss for each;
            None to train without an optimizer. A scheduler dict has ``"scheduler"`` and, if wanted, ``"interval"``
            (``"epoch"`` or ``"step"``), ``"frequency"``, ``"monitor"``, ``"strict"``, ``"name"`` and
            ``"reduce_on_plateau"``.
        """
        return None

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizers, for manual optimization.

        Args:
            use_pl_optimizer: Whether they come wrapped, so that ``step`` obeys precision, hooks and counters.

        Returns:
            The optimizer where there is one, else the list.
        """
        strategy = self.trainer.strategy
        found: list[Any] = list(strategy._lightning_optimizers if use_pl_optimizer else strategy.optimizers)
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        """The schedulers, for manual optimization: None, one, or a list."""
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        if not found:
            return None
        return found[0] if len(found) == 1 else found

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Runs backward on a loss; override it for a backward of your own.

        Args:
            loss: The loss, scaled where the precision scales.
            *args: For ``loss.backward``.
            **kwargs: For ``loss.backward``.
        """
        loss.backward(*args, **kwargs)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Runs backward from ``training_step`` under manual optimization, in the run's precision and with its hooks.

        Args:
            loss: A scalar with a graph.
            *args: For ``loss.backward``.
            **kwargs: For ``loss.backward``.

        Raises:
            MisconfigurationException: Under automatic optimization.
        """
        require_manual(self, "manual_backward")
        self.trainer.fit_loop.optimization.backward(loss, None, *args, **kwargs)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Steps the optimizer; override it to step in another way or not on every window.

        Args:
            epoch: The running epoch, from 0.
            batch_idx: The running batch, from 0.
            optimizer: The optimizer.
            optimizer_closure: Runs ``training_step``, ``zero_grad`` and ``backward``: hand it to ``optimizer.step``.
        """
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clears gradients at the start of each accumulation window.

        Args:
            epoch: The running epoch, from 0.
            batch_idx: The running batch, from 0.
            optimizer: The optimizer.
        """
        optimizer.zero_grad()

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Steps a scheduler; override it for one with another interface.

        Args:
            scheduler: The scheduler.
            metric: The monitored value for ``ReduceLROnPlateau`` and its like, else None.
        """
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients before the optimizer steps; override it for a rule of your own.

        Args:
            optimizer: The optimizer about to step.
            gradient_clip_val: The Trainer's ``gradient_clip_val``.
            gradient_clip_algorithm: The Trainer's ``gradient_clip_algorithm``.
        """
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the gradients of an optimizer's parameters.

        Args:
            optimizer: Whose parameters.
            gradient_clip_val: The limit; None takes the Trainer's, and no limit at all clips nothing.
            gradient_clip_algorithm: ``"norm"`` or ``"value"``; None takes the Trainer's, else ``"norm"``.

        Raises:
            MisconfigurationException: If the algorithm is neither.
        """
        trainer = self.trainer
        for name, given in (
            ("gradient_clip_val", gradient_clip_val),
            ("gradient_clip_algorithm", gradient_clip_algorithm),
        ):
            own = getattr(trainer, name)
            if own is not None and given is not None and given != own:
                raise MisconfigurationException(
                    f"`{name}` is set in one place: in the Trainer, or in `clip_gradients`.",
                    got=f"Trainer({name}={own}) and clip_gradients({name}={given})",
                    fix="Remove one of the two.",
                )
        value = trainer.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        if not value:
            return
        name = gradient_clip_algorithm or trainer.gradient_clip_algorithm or "norm"
        algorithm = GradClipAlgorithmType.from_str(str(name))
        if algorithm is None:
            raise MisconfigurationException(
                '`gradient_clip_algorithm` is one of "norm" and "value".',
                got=name,
                fix='`self.clip_gradients(optimizer, gradient_clip_val=1.0, gradient_clip_algorithm="norm")`.',
            )
        if isinstance(optimizer, LightningOptimizer):
            optimizer = optimizer.optimizer
        trainer.strategy.precision_plugin.clip_gradients(optimizer, value, algorithm)

    def toggle_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> None:
        """Lets only one optimizer's parameters collect gradients, until :meth:`untoggle_optimizer`.

        Args:
            optimizer: The one to leave on.
        """
        everyone = [p for other in self.trainer.optimizers for p in _parameters_of(other)]
        self._toggled = {p: p.requires_grad for p in everyone}
        for parameter in everyone:
            parameter.requires_grad = False
        for parameter in _parameters_of(optimizer):
            parameter.requires_grad = self._toggled.get(parameter, True)

    def untoggle_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> None:
        """Undoes :meth:`toggle_optimizer`.

        Args:
            optimizer: The one that was left on.
        """
        mine = set(_parameters_of(optimizer))
        for parameter, required in self._toggled.items():
            if parameter not in mine:
                parameter.requires_grad = required
        self._toggled = {}

    @contextmanager
    def toggled_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> Generator[None]:
        """:meth:`toggle_optimizer` for the length of a ``with`` block.

        Args:
            optimizer: The one to leave on.
        """
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)


def require_manual(module: Any, name: str) -> None:
    """Raises unless the module optimizes manually."""
    if module.automatic_optimization:
        raise MisconfigurationException(
            f"`self.{name}` is for manual optimization, and this module optimizes automatically.",
            fix="Set `self.automatic_optimization = False` in `__init__`, or return the loss from `training_step` "
            "and let the Trainer do the rest.",
        )
