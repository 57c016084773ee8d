"""The order of events of a training run and who listens, as text made from the hook table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fulmen.loops.fit import FitLoop

# (depth, what): events of the hook table by name, everything else as it is shown
_ORDER: tuple[tuple[int, str], ...] = (
    (0, "on_fit_start"),
    (0, "on_sanity_check_start"),
    (1, "(a few validation batches, which leave no trace)"),
    (0, "on_sanity_check_end"),
    (0, "on_train_start"),
    (0, "for epoch in epochs:"),
    (1, "on_train_epoch_start"),
    (1, "for batch in batches:"),
    (2, "on_train_batch_start"),
    (2, "training_step"),
    (2, "on_before_zero_grad"),
    (2, "on_before_backward"),
    (2, "backward"),
    (2, "on_after_backward"),
    (2, "on_before_optimizer_step"),
    (2, "clip gradients"),
    (2, "optimizer step"),
    (2, "learning rate schedulers"),
    (2, "on_train_batch_end"),
    (2, "where validation is due:"),
    (3, "on_validation_start"),
    (3, "on_validation_epoch_start"),
    (3, "for batch in batches:"),
    (4, "on_validation_batch_start"),
    (4, "validation_step"),
    (4, "on_validation_batch_end"),
    (3, "on_validation_epoch_end"),
    (3, "on_validation_end"),
    (1, "on_train_epoch_end"),
    (0, "on_train_end"),
    (0, "on_fit_end"),
)


def describe(loop: FitLoop) -> str:
    """The events of `fit` in order, each with its listeners.

    Args:
        loop: The loop; its Trainer's hook table says who listens.

    Returns:
        One line an event.
    """
    hooks = getattr(loop.trainer, "hooks", None)
    listeners: dict[str, list[str]] = hooks.listeners if hooks is not None else {}
    lines = []
    for depth, what in _ORDER:
        heard = [label.rpartition(".")[0] for label in listeners.get(what, [])]
        text = "    " * depth + what
        lines.append(f"{text:<44}{', '.join(heard)}".rstrip() if heard else text)
    if hooks is None:
        lines.append("(listeners are known once the Trainer has a model)")
    return "\n".join(lines)
