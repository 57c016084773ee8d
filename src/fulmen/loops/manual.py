"""One training step, under manual optimization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fulmen.loops.optimize import Automatic
from fulmen.loops.recipe import Recipe, needs_closure
from fulmen.loops.step_mistakes import wrong_output
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.grads import gradients_of, put_gradients
from fulmen.utilities.tree import apply_to_collection


class Manual(Automatic):
    """``training_step`` calls backward and steps the optimizers itself."""

    def check(self) -> None:
        """Complains of flags that have no effect under manual optimization.

        Raises:
            MisconfigurationException: Naming the flag.
        """
        trainer = self.trainer
        for value, flag in (
            (trainer.accumulate_grad_batches != 1, f"accumulate_grad_batches={trainer.accumulate_grad_batches}"),
            (trainer.gradient_clip_val is not None, f"gradient_clip_val={trainer.gradient_clip_val}"),
        ):
            if value:
                raise MisconfigurationException(
                    f"Under manual optimization `Trainer({flag})` has no effect: the steps are yours.",
                    fix=f"Remove `{flag}` from the Trainer and do it in `training_step` (for clipping: "
                    "`self.clip_gradients(optimizer, 1.0)`), or leave `automatic_optimization` on.",
                )

    def begin_epoch(self) -> None:
        """Looks up everything that a step needs."""
        self.recipe = Recipe(self.trainer, self.module, gathers=True)
        for wrapped in self.trainer.strategy._lightning_optimizers:
            wrapped._stepper = self.step_from_hook
        self.closed = True

    def step(self, batch: Any, index: int, last: bool) -> Any:
        """Runs one batch; see ``Automatic.step``."""
        recipe, book = self.recipe, self.book
        book.hook, book.entries = "training_step", book.tables["training_step"]
        if recipe.context is None:
            output = recipe.step(batch, index)
        else:
            with recipe.context():
                output = recipe.step(batch, index)
        book.hook = None
        if output is None or isinstance(output, Tensor):
            return {} if output is None else {"loss": output.detach()}
        if isinstance(output, Mapping):
            return apply_to_collection(output, Tensor, torch.Tensor.detach)
        raise wrong_output(
            output,
            "manual",
            "nothing, or for `on_train_batch_end` the loss as a tensor or a dict",
            fix='Leave the `return` out, or write `return {"loss": loss.detach(), ...}`.',
        )

    def batches_in_window(self, index: int) -> int:
        """None: each batch is a step of its own."""
        return 0

    def flush(self) -> None:
        """Nothing is left open: the steps are the user's."""

    def state_dict(self, failed: bool = False) -> dict[str, Any]:
        """The gradients that there are: only the user knows whether more will be added to them."""
        if failed:  # nobody knows what of them was there before
            return {}
        return {"gradients": gradients_of(self.module)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        put_gradients(self.module, state.get("gradients", {}))

    def step_from_hook(self, optimizer: Optimizer, closure: Callable[[], Any], **kwargs: Any) -> Any:
        """What ``optimizer.step()`` means in ``training_step``."""
        recipe, hooks = self.recipe, self.hooks

        def finishing() -> Any:
            loss = closure()
            if recipe.unscale is not None:
                recipe.unscale(optimizer)
            hooks.on_before_optimizer_step(optimizer)
            return loss

        if recipe.update is not None:
            result = recipe.update(optimizer, model=self.module, closure=finishing, **kwargs)
        elif needs_closure(optimizer):
            result = optimizer.step(finishing, **kwargs)
        else:
            result = finishing()
            optimizer.step(**kwargs)
        self.progress.steps += 1
        return result
