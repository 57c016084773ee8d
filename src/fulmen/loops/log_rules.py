"""Where ``self.log`` may be called, and what it means there by default."""

from __future__ import annotations

from typing import NamedTuple

from fulmen.core.logging import LogOptions
from fulmen.utilities.exceptions import MisconfigurationException


class Rule(NamedTuple):
    """What a hook allows and what it takes when a call does not say."""

    on_step_allowed: bool
    on_step: bool
    on_epoch: bool


_TRAIN_BATCH = Rule(on_step_allowed=True, on_step=True, on_epoch=False)
_EVAL_BATCH = Rule(on_step_allowed=True, on_step=False, on_epoch=True)
_EPOCH = Rule(on_step_allowed=False, on_step=False, on_epoch=True)

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "training_step", "on_train_batch_start", "on_train_batch_end", "on_before_backward", "on_after_backward",
            "on_before_optimizer_step", "on_before_zero_grad", "optimizer_step", "optimizer_zero_grad",
            "configure_gradient_clipping", "backward",
        ),
        _TRAIN_BATCH,
    ),
    **dict.fromkeys(
        (
            "validation_step", "on_validation_batch_start", "on_validation_batch_end",
            "test_step", "on_test_batch_start", "on_test_batch_end",
        ),
        _EVAL_BATCH,
    ),
    **dict.fromkeys(
        (
            "on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_validation_start",
            "on_validation_epoch_start", "on_validation_epoch_end", "on_test_start", "on_test_epoch_start",
            "on_test_epoch_end",
        ),
        _EPOCH,
    ),
}  # fmt: skip

REDUCTIONS = ("mean", "sum", "max", "min")


def resolve(name: str, hook: str | None, options: LogOptions) -> tuple[bool, bool, str]:
    """What a call of ``self.log`` means in a hook.

    Args:
        name: The key.
        hook: The hook that runs; None between hooks.
        options: What the call asked for.

    Returns:
        Whether it logs each step, whether it logs the epoch, and by which reduction.

    Raises:
        MisconfigurationException: If the hook does not allow it.
    """
    rule = RULES.get(hook or "")
    if rule is None:
        raise MisconfigurationException(
            f"`self.log` cannot be called in `{hook}`."
            if hook
            else "`self.log` can be called only while batches are trained or evaluated, and in the hooks around them.",
            got=f'self.log("{name}", ...)',
            fix="Log in `training_step`, `validation_step` or `test_step`, or in a hook of a batch or an epoch such as "
            "`on_train_epoch_end`; to send a value to the logger from here, call `self.logger.log_metrics({...}, "
            "step=self.global_step)`.",
        )
    on_step = rule.on_step if options.on_step is None else options.on_step
    on_epoch = rule.on_epoch if options.on_epoch is None else options.on_epoch
    if on_step and not rule.on_step_allowed:
        raise MisconfigurationException(
            f"`self.log(on_step=True)` cannot be used in `{hook}`, which runs once an epoch.",
            got=f'self.log("{name}", ..., on_step=True)',
            fix="Leave `on_step` out, or write `on_step=False`.",
        )
    if not on_step and not on_epoch and not rule.on_step_allowed:
        raise MisconfigurationException(
            f"`self.log(on_epoch=False)` cannot be used in `{hook}`, which runs once an epoch.",
            got=f'self.log("{name}", ..., on_epoch=False)',
            fix="Leave `on_epoch` out, or write `on_epoch=True`.",
        )
    if not on_step and not on_epoch:
        raise MisconfigurationException(
            "`self.log(on_step=False, on_epoch=False)` logs nothing.",
            got=f'self.log("{name}", ..., on_step=False, on_epoch=False)',
            fix="Set one of the two.",
        )
    return on_step, on_epoch, _reduction(name, options.reduce_fx)


def _reduction(name: str, reduce_fx: object) -> str:
    reduction = reduce_fx if isinstance(reduce_fx, str) else getattr(reduce_fx, "__name__", repr(reduce_fx))
    reduction = {"amax": "max", "amin": "min", "avg": "mean"}.get(reduction.lower(), reduction.lower())
    if reduction not in REDUCTIONS:
        raise MisconfigurationException(
            '`self.log(reduce_fx=...)` is one of "mean", "sum", "max" and "min".',
            got=f'self.log("{name}", ..., reduce_fx={reduce_fx!r})',
            fix="Use one of them, or log a TorchMetrics metric, which reduces itself as it likes.",
        )
    return reduction
