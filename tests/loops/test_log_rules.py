from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.core.logging import LogOptions
from fulmen.loops.log_rules import REDUCTIONS, RULES, resolve
from fulmen.utilities.exceptions import MisconfigurationException

CHOICES = st.sampled_from([None, False, True])


def options(on_step: bool | None = None, on_epoch: bool | None = None, reduce_fx: Any = "mean") -> LogOptions:
    return LogOptions(False, None, on_step, on_epoch, reduce_fx, False, False, None, True, None, False)


@given(st.sampled_from(sorted(RULES)), CHOICES, CHOICES)
def test_what_a_call_means(hook: str, on_step: bool | None, on_epoch: bool | None) -> None:
    rule = RULES[hook]
    step = rule.on_step if on_step is None else on_step
    epoch = rule.on_epoch if on_epoch is None else on_epoch
    once = not rule.on_step_allowed
    if (step and once) or not (step or epoch):
        with pytest.raises(MisconfigurationException, match="What to do"):
            resolve("a", hook, options(on_step, on_epoch))
    else:
        assert resolve("a", hook, options(on_step, on_epoch)) == (step, epoch, "mean")


@pytest.mark.parametrize(
    ("hook", "default"),
    [
        ("training_step", (True, False)),
        ("on_train_batch_end", (True, False)),
        ("optimizer_step", (True, False)),
        ("validation_step", (False, True)),
        ("on_test_batch_end", (False, True)),
        ("on_train_epoch_end", (False, True)),
        ("on_validation_start", (False, True)),
    ],
)
def test_defaults(hook: str, default: tuple[bool, bool]) -> None:
    assert resolve("a", hook, options())[:2] == default


@pytest.mark.parametrize("hook", [None, "on_fit_start", "on_validation_end", "on_train_end", "predict_step"])
def test_where_nothing_can_be_logged(hook: str | None) -> None:
    with pytest.raises(MisconfigurationException, match=r"on_train_epoch_end`.*self\.logger\.log_metrics") as caught:
        resolve("loss", hook, options())
    assert 'self.log("loss", ...)' in str(caught.value)
    assert (hook or "") in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *((name, name) for name in REDUCTIONS),
        ("MEAN", "mean"),
        ("avg", "mean"),
        (torch.mean, "mean"),
        (torch.amax, "max"),
        (torch.amin, "min"),
        (max, "max"),
        (sum, "sum"),
        (torch.sum, "sum"),
    ],
)
def test_reductions(given: Any, meant: str) -> None:
    assert resolve("a", "training_step", options(reduce_fx=given))[2] == meant


@pytest.mark.parametrize("given", ["std", torch.std, lambda values: values, 3])
def test_other_reductions(given: Any) -> None:
    with pytest.raises(MisconfigurationException, match="TorchMetrics metric"):
        resolve("a", "training_step", options(reduce_fx=given))
