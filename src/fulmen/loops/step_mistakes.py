"""Mistakes in what a training step gives, and what to do about them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from fulmen.utilities.exceptions import MisconfigurationException, MisconfiguredRun, MisconfiguredValue


def closure_not_run(owner: object, optimizer: Optimizer) -> MisconfigurationException:
    """The error for an ``optimizer_step`` that does not hand on its closure."""
    return MisconfigurationException(
        "The optimizer's closure computes the loss and was never called.",
        got=f"`optimizer_step` of `{type(owner).__name__}` and {type(optimizer).__name__}",
        fix="Hand it on: `optimizer.step(closure=optimizer_closure)`, or call `optimizer_closure()` yourself.",
    )


def why_no_backward(
    loss: Tensor, error: RuntimeError, alone: bool, name: str | None = None
) -> MisconfigurationException | None:
    """What the user did, where torch says what it could not do; None if that says it all.

    Args:
        loss: On which backward ran.
        error: What torch says.
        alone: Whether backward was called without arguments.
        name: The optimizer that the loss is for, where there are several.
    """
    which = "" if name is None else f"the loss for {name!r}: "
    if not loss.requires_grad:
        return MisconfiguredRun(
            "The loss has no graph, so there is nothing to run backward through: no parameter with `requires_grad` "
            "took part in it.",
            got=f"{which}a tensor of dtype {loss.dtype} with `requires_grad=False`",
            fix="Compute it from the model's outputs without `.detach()`, `.item()` or `torch.no_grad()`, and check "
            "that not all parameters are frozen.",
        )
    if loss.numel() != 1 and alone:
        return MisconfiguredRun(
            "The loss is one number.",
            got=f"{which}a tensor of shape {tuple(loss.shape)}",
            fix="Reduce it over the batch: `loss.mean()`.",
        )
    if "second time" in str(error):
        return MisconfiguredRun(
            "The graph of the loss is used up: backward ran on it already.",
            fix="Under automatic optimization return the loss, and leave `loss.backward()` and `optimizer.step()` to "
            "the Trainer. To call them yourself, set `self.automatic_optimization = False` in `__init__` and use "
            "`self.manual_backward(loss)`, with `retain_graph=True` where a graph is needed twice.",
        )
    return None


def wrong_output(output: Any, kind: str, wanted: str, fix: str) -> MisconfigurationException:
    """The error for what ``training_step`` returned."""
    got = f"{type(output).__name__}"
    if isinstance(output, dict):
        loss = f", and {type(output['loss']).__name__} under it" if "loss" in output else ""
        got = f"a dict with the keys {list(output)}{loss}"
    return MisconfigurationException(f"Under {kind} optimization `training_step` returns {wanted}.", got=got, fix=fix)


def several_without_names(count: int) -> MisconfigurationException:
    """The error for several optimizers under automatic optimization that have no names."""
    return MisconfiguredRun(
        "Several optimizers need names, or manual optimization.",
        got=f"{count} optimizers from `configure_optimizers`",
        fix='Return them by name, `{"a": optimizer_a, "b": optimizer_b}`, and from `training_step` a loss for '
        'each, `{"a": loss_a, "b": loss_b}`; or set `self.automatic_optimization = False` in `__init__`, and '
        "in `training_step` take them with `opt_a, opt_b = self.optimizers()` and call "
        "`self.manual_backward(loss)` and `opt_a.step()`.",
    )


def no_loss(output: Any) -> MisconfigurationException:
    """The error for what ``training_step`` returned in place of the loss of the one optimizer."""
    return wrong_output(
        output,
        "automatic",
        'the loss: a tensor, a dict with a tensor under the key "loss", or None to skip the batch',
        fix='Write `return loss` or `return {"loss": loss, ...}`.',
    )


def weight_of(value: Any) -> float:
    """A ``"loss_weight"`` as a number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise MisconfiguredValue(
            'The "loss_weight" that `training_step` returns is the number of samples or tokens behind the loss.',
            got=f"{type(value).__name__} ({value!r})"[:200],
            fix='`return {"loss": loss, "loss_weight": mask.sum()}`.',
        ) from None
