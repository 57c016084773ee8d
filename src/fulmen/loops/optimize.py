"""One training step, under automatic optimization.

The order of events does not depend on how the optimizer is stepped: ``training_step``, zero_grad (at the start of an
accumulation window), backward, and at a window's end ``on_before_optimizer_step``, clipping, the update. A closure goes
to ``optimizer.step`` only where it is needed, because handing one over costs a few percent on small models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from fulmen.data.ghost import GHOST
from fulmen.loops.absent import Absent, mean_loss
from fulmen.loops.hooks import Hooks, nobody
from fulmen.loops.joint_window import JointWindow
from fulmen.loops.logbook import LogBook
from fulmen.loops.own_backward import let_strategy_run_backward
from fulmen.loops.progress import Progress
from fulmen.loops.recipe import Recipe, insists_on_closure, needs_closure, outputs_of
from fulmen.loops.step_mistakes import closure_not_run, no_loss, several_without_names, weight_of, why_no_backward
from fulmen.loops.window import Window, scale_gradients
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.grads import gradients_of, put_gradients
from fulmen.utilities.rank_zero import warn_once

if TYPE_CHECKING:
    from fulmen.core.module import LightningModule
    from fulmen.trainer.trainer import Trainer


class Automatic:
    """The Trainer calls backward and steps the one optimizer.

    Args:
        trainer: Whose settings and strategy.
        module: The model.
        hooks: Who listens.
        book: Where logged values go.
        progress: Counts the steps.

    Attributes:
        idle: The optimizers that did not step where the last window ended; their schedulers by step wait with them.
        share: What a loss is multiplied with, where other processes have no batch to go with this one.
        gathers: Whether gradients of several processes are brought together after backward, and not by it.
    """

    idle: tuple[Optimizer, ...] = ()
    share = 1.0
    gathers = False

    def __init__(
        self, trainer: Trainer, module: LightningModule, hooks: Hooks, book: LogBook, progress: Progress
    ) -> None:
        self.trainer, self.module, self.hooks, self.book, self.progress = trainer, module, hooks, book, progress
        self.window = Window(1)
        self.closed = True
        self._outputs: Any = None
        self._gathered: Tensor | None = None
        self._ran = False
        self._absent = Absent(trainer.strategy, module, progress)
        self._lacks = False  # whether this process had no loss of a batch of the window, while there are others
        let_strategy_run_backward(self)

    def check(self) -> None:
        """Complains of what does not suit this kind of optimization, before anything runs.

        Raises:
            RuntimeError: If there are several optimizers.
        """
        if len(self.trainer.optimizers) > 1:
            raise several_without_names(len(self.trainer.optimizers))

    def begin_epoch(self) -> None:
        """Looks up everything that a step needs: settings may have changed since the last epoch."""
        trainer = self.trainer
        self.recipe = recipe = Recipe(trainer, self.module, gathers=self.gathers)
        if not self.gathers:
            recipe.step = trainer.strategy.wrap_training_step(
                recipe.step, None if trainer.accumulate_grad_batches == 1 else lambda: self.closed
            )
            recipe.complete = trainer.strategy.gradient_check()
        self.optimizer: Optimizer = trainer.optimizers[0]
        self.wrapped = trainer.strategy._lightning_optimizers[0]
        self.wrapped._stepper = self.step_from_hook
        self.several = trainer.strategy.world_size > 1
        # those that decide by the loss, which has to be the same on all processes
        self._compute_together = functools.partial(mean_loss, self.compute, trainer.strategy)
        self._deciding = tuple(filter(insists_on_closure, trainer.optimizers)) if self.several else ()
        # whether somebody is handed a closure, who may want its loss where the data end too soon
        self.hands_over = recipe.optimizer_step is not None or recipe.update is not None
        # whether the closure is called once, before the update
        self.direct = recipe.optimizer_step is None and recipe.stranger is None and not needs_closure(self.optimizer)
        hooks = self.hooks
        self.keeps_outputs = hooks.on_train_batch_end is not nobody or hooks.after_train_batch is not nobody
        # how many batches a window is planned for, and after how many one closes by itself
        self.planned = self.every = trainer.accumulate_grad_batches
        if self.several and self.planned > 1 and trainer.exact_accumulation:
            self.window = JointWindow(self.planned, trainer.strategy, trainer.fit_loop.data.alike)
        else:
            self.window = Window(self.planned, exact=trainer.exact_accumulation)
        self.share = 1.0
        self.opens = self.closed = True

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs one batch, and the update where it closes a window.

        Args:
            batch: The batch, on the device.
            index: Its number in the epoch, from 0.
            last: Whether it is the last of the epoch.

        Returns:
            What ``on_train_batch_end`` gets as ``outputs``.
        """
        self.batch, self.index = batch, index
        self.closed = closed = last or (index + 1) % self.every == 0
        if not closed:
            self._ran = self.finishes = False
            loss = self.compute()
            if self.hands_over:
                self._gathered = None if loss is None else loss.detach()
        else:
            self._ran, self.finishes = False, True
            if not (self.direct or self.opens):
                self.window.keep(self.optimizer)
            update, optimizer = self.recipe.update, self.optimizer
            compute = self.compute if optimizer not in self._deciding else self._compute_together
            if self.recipe.optimizer_step is not None:
                self._call_optimizer_step(compute)
            elif self.direct:
                loss = self.compute()
                if update is None:
                    optimizer.step()
                else:
                    self._gathered = loss
                    update(optimizer, model=self.module, closure=self._computed)
            elif update is None:
                optimizer.step(compute)  # type: ignore[arg-type]  # torch allows no None for a skipped loss
            else:
                update(optimizer, model=self.module, closure=compute)
            if not self._ran:
                raise closure_not_run(self.recipe.stepper(self.module), optimizer)
            self.progress.steps += 1
        self.opens = closed
        outputs, self._outputs = self._outputs, None
        return outputs

    def flush(self) -> None:
        """Steps on what an open window has gathered, where the data ended sooner than was known."""
        if self.closed or needs_closure(self.optimizer):
            return
        if self._lacks:
            self._absent.say()
        self.trainer.strategy.sync_gradients(self.module.parameters(), always=True)
        if self.recipe.optimizer_step is not None:
            self._call_optimizer_step(self._computed)
        else:
            self._finish()
            if self.recipe.update is None:
                self.optimizer.step()
            else:
                self.recipe.update(self.optimizer, model=self.module, closure=self._computed)
        self.progress.steps += 1
        self.closed = self.opens = True

    def _computed(self) -> Tensor | None:
        """Stands in for the closure of a step: the loss and its gradients are there already."""
        self._ran = True
        return self._gathered

    def end_epoch(self) -> None:
        """Lets go of the last batch."""
        self.batch = self._gathered = None

    def batches_in_window(self, index: int) -> int:
        """How many batches of the window that a batch belongs to come before it."""
        return index % self.planned

    def state_dict(self, failed: bool = False) -> dict[str, Any]:
        """What an accumulation window that is open has gathered; empty where none is.

        Args:
            failed: Whether a step failed, so that its window is to begin again.
        """
        if self.closed or failed:
            return {}
        lacking = {"absent": self._absent.batches} if self._lacks else {}
        return {"window": self.window.state_dict(), "gradients": gradients_of(self.module), **lacking}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave, after :meth:`begin_epoch`."""
        if "window" in state:
            factor = self.window.load_state_dict(state["window"])
            put_gradients(self.module, state["gradients"], factor)
            if "absent" in state:
                self._lacks, self._absent.batches = True, dict(state["absent"])
            self.opens = self.closed = False

    def compute(self) -> Tensor | None:
        """Loss and gradients of the running batch; the closure of a step.

        Returns:
            The loss, or None where ``training_step`` skipped the batch.
        """
        recipe, hooks, book = self.recipe, self.hooks, self.book
        if self._ran and not self.opens:  # the optimizer computes the closing batch of a window again
            self.window.restore()
        self._ran = True
        batch = self.batch
        if batch is GHOST:
            self._compute_nothing()
            return None
        book.hook, book.entries = "training_step", book.tables["training_step"]
        if recipe.context is None:
            output = recipe.step(batch, self.index)
        else:
            with recipe.context():
                output = recipe.step(batch, self.index)
        book.hook = None
        weight, skipped = None, True
        loss: Tensor | None
        if isinstance(output, Tensor):
            loss = output
        else:
            loss, weight = self._read(output)
        if self.opens:
            self._lacks = False
            if self.planned > 1:
                self.window.open()
            hooks.on_before_zero_grad(self.optimizer)
            if recipe.zero_grad is None:
                self.optimizer.zero_grad()
            else:
                self._call(
                    "optimizer_zero_grad", recipe.zero_grad, self.trainer.current_epoch, self.index, self.wrapped
                )
        if loss is not None:
            if self.planned > 1:
                loss = self.window.share(loss, weight, batch)
            if self.keeps_outputs:
                self._outputs = outputs_of(output, loss)
            if self.share != 1.0:
                loss = loss * self.share
            if weight != 0 or not self.window.exact:  # a batch without weight has no part, even if its loss is NaN
                if self._lacks and self.closed:
                    self._absent.say()
                self.backward(loss, self.optimizer)
                skipped = False
        if skipped and self.several:
            self._take_part(self.window.skip(batch) if loss is None and self.planned > 1 else 0.0)
        if self.finishes:
            self._finish()
        return loss

    def _open_window(self) -> None:
        """Begins a window without a batch."""
        self._lacks = False
        if self.planned > 1:
            self.window.open()
        self.hooks.on_before_zero_grad(self.optimizer)
        zero_grad = self.recipe.zero_grad or (lambda *_: self.optimizer.zero_grad())
        self._call("optimizer_zero_grad", zero_grad, self.trainer.current_epoch, self.index, self.wrapped)

    def _compute_nothing(self) -> None:
        """What :meth:`compute` is while only other processes have a batch."""
        self.trainer.strategy.forward_of_nothing()
        if self.opens:
            self._open_window()
        if self.planned > 1:
            self.window.pass_over()
        self._outputs = {}
        self._take_part()
        if self.finishes:
            self._finish()

    def _take_part(self, counted: float = 0.0) -> None:
        """Adds nothing to the gradients that the others bring together, and does to those what is done afterwards.

        Args:
            counted: What the batch counts in the window nevertheless.
        """
        if self.gathers:
            if self.closed and self.recipe.gather is not None:
                self._gather()
            return
        if not self._lacks:
            self._lacks, self._absent.batches = True, {}
        self._absent.batches[self.index] = counted
        if self.closed:
            self._absent.say()
        scale = self.recipe.scale
        nothing = None if scale is None else functools.partial(scale, module=self.module)
        self.trainer.strategy.backward_of_nothing(self.closed, nothing)
        if self.closed:
            self.hooks.on_after_backward()

    def backward(self, loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Tensor:
        """Runs backward with its hooks, in the run's precision.

        Returns:
            What it ran on.
        """
        recipe, hooks = self.recipe, self.hooks
        if recipe.scale is not None:
            loss = recipe.scale(loss, self.module)
        hooks.on_before_backward(loss)
        if recipe.backward is not None:
            self._call("backward", recipe.backward, loss, *args, **kwargs)
        else:
            try:
                if recipe.precision_backward is None:
                    loss.backward(*args, **kwargs)
                else:
                    recipe.precision_backward(loss, self.module, optimizer, *args, **kwargs)
            except RuntimeError as error:
                reason = self.why_no_backward(loss, error, alone=not args and not kwargs)
                if reason is None:
                    raise
                raise reason from None
        if recipe.post_backward is not None:
            recipe.post_backward(loss, self.module)
        if self.closed and (recipe.complete is not None or recipe.gather is not None):
            self._complete()
        hooks.on_after_backward()
        return loss

    def _complete(self) -> None:
        """What has to follow on a backward that closes a window, where there are several processes."""
        if self.recipe.complete is not None:
            self.recipe.complete()
        if self.recipe.gather is not None:
            self._gather()

    def _gather(self) -> None:
        """Brings together what the last backward has made, where that does not do so."""
        assert self.recipe.gather is not None
        self.recipe.gather(self.module.parameters())

    def why_no_backward(self, loss: Tensor, error: RuntimeError, alone: bool) -> MisconfigurationException | None:
        """What the user did, where torch says what it could not do; None if that says it all.

        Args:
            loss: On which backward ran.
            error: What torch says.
            alone: Whether backward was called without arguments.
        """
        return why_no_backward(loss, error, alone)

    def _finish(self) -> None:
        """What comes between the last backward of a window and the update."""
        recipe = self.recipe
        self._absent.updates += 1
        if self._lacks:
            self._absent.settle(self.window, self.batches_in_window(self.index) + 1)
        if recipe.unscale is not None:
            recipe.unscale(self.optimizer)
        if self.planned > 1:
            scale_gradients(self.optimizer, self.window.correction)
        self.hooks.on_before_optimizer_step(self.optimizer)
        if recipe.clip is not None:
            self._call(
                "configure_gradient_clipping", recipe.clip, self.optimizer,
                gradient_clip_val=recipe.clip_value, gradient_clip_algorithm=recipe.clip_algorithm,
            )  # fmt: skip
        elif recipe.clip_value:
            self.module.clip_gradients(self.optimizer, recipe.clip_value, recipe.clip_algorithm)

    def _call_optimizer_step(self, closure: Callable[[], Any]) -> None:
        self.finishes = False  # `step_from_hook` does that, between the closure and the update
        hook = self.recipe.optimizer_step
        assert hook is not None
        self._call("optimizer_step", hook, self.trainer.current_epoch, self.index, self.wrapped, closure)

    def step_from_hook(self, optimizer: Optimizer, closure: Callable[[], Any], **kwargs: Any) -> Any:
        """What ``optimizer.step(closure)`` means in an overridden ``optimizer_step``."""

        def finishing() -> Any:
            loss = closure()
            self._finish()
            return loss

        if self.recipe.update is not None:
            return self.recipe.update(optimizer, model=self.module, closure=finishing, **kwargs)
        return optimizer.step(finishing, **kwargs)

    def _call(self, hook: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls an override of the user's, which may log."""
        before = self.book.hook
        self.book.enter(hook)
        try:
            return function(*args, **kwargs)
        finally:
            self.book.enter(before)

    def _read(self, output: Any) -> tuple[Tensor | None, float | None]:
        if output is None:
            warn_once("`training_step` returned None, so the batch was skipped. Return the loss to train on it.")
            self._outputs = {}
            return None, None
        if isinstance(output, dict) and isinstance(output.get("loss"), Tensor):
            weight = output.get("loss_weight") if self.planned > 1 else None
            return output["loss"], None if weight is None else weight_of(weight)
        raise no_loss(output)
