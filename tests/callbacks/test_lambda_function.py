from __future__ import annotations

import inspect
from typing import Any

import pytest

from fulmen.callbacks import Callback, LambdaCallback
from fulmen.utilities.exceptions import MisconfigurationException

HOOKS = [name for name in vars(Callback) if name.startswith("on_") or name in ("setup", "teardown")]


def test_every_hook_can_be_given() -> None:
    assert set(inspect.signature(LambdaCallback).parameters) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_function_gets_what_the_hook_gets(hook: str) -> None:
    calls: list[Any] = []
    callback = LambdaCallback(**{hook: lambda *args: calls.append(args)})
    arguments = list(range(len(inspect.signature(getattr(Callback, hook)).parameters) - 1))
    getattr(callback, hook)(*arguments)
    assert calls == [tuple(arguments)]
    others = [name for name in HOOKS if name != hook]
    assert all(getattr(callback, name).__func__ is getattr(Callback, name) for name in others)


def test_a_function_is_wanted() -> None:
    with pytest.raises(MisconfigurationException, match="on_fit_start=lambda trainer, module"):
        LambdaCallback(on_fit_start=1)  # type: ignore[arg-type]
