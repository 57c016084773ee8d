from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from fulmen.core.optimizer_config import NoOptimizer, read_optimizers
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.types import LRSchedulerConfig

PARAMETER = nn.Parameter(torch.ones(1))
O = SGD([PARAMETER], 1.0)  # noqa: E741 - short, for the table
P = Adam([PARAMETER])
S, T = StepLR(O, 1), StepLR(P, 1)
R = ReduceLROnPlateau(O)


def shown(config: LRSchedulerConfig) -> dict[str, Any]:
    """The fields that are not the defaults."""
    plain = LRSchedulerConfig(config.scheduler)
    return {name: value for name, value in vars(config).items() if value != getattr(plain, name)}


@pytest.mark.parametrize(
    ("returned", "optimizers", "schedulers"),
    [
        (O, [O], {}),
        ([O], [O], {}),
        ((O, P), [O, P], {}),
        (([O], []), [O], {}),
        (([O, P], [S, T]), [O, P], {S: {}, T: {}}),
        (([O], [{"scheduler": S, "interval": "step", "name": "rate"}]), [O], {S: {"interval": "step", "name": "rate"}}),
        (([O], S), [O], {S: {}}),  # as darts does
        ([[O], {"scheduler": S, "interval": "step"}], [O], {S: {"interval": "step"}}),
        ({"optimizer": O}, [O], {}),
        ({"optimizer": O, "lr_scheduler": None}, [O], {}),
        ({"optimizer": O, "lr_scheduler": S}, [O], {S: {}}),
        ({"optimizer": O, "lr_scheduler": {"scheduler": S, "frequency": 3}}, [O], {S: {"frequency": 3}}),
        ([{"optimizer": O}, {"optimizer": P, "lr_scheduler": T}], [O, P], {T: {}}),
        (({"optimizer": O, "lr_scheduler": S},), [O], {S: {}}),
        (
            {"optimizer": O, "lr_scheduler": R, "monitor": "loss"},
            [O],
            {R: {"reduce_on_plateau": True, "monitor": "loss"}},
        ),
        (
            {"optimizer": O, "lr_scheduler": {"scheduler": R, "monitor": "a", "strict": False}, "monitor": "b"},
            [O],
            {R: {"reduce_on_plateau": True, "monitor": "a", "strict": False}},
        ),
        (
            ([O], [{"scheduler": S, "reduce_on_plateau": True, "monitor": "a"}]),
            [O],
            {S: {"reduce_on_plateau": True, "monitor": "a"}},
        ),
    ],
)
def test_shapes(returned: Any, optimizers: list[Optimizer], schedulers: dict[Any, dict[str, Any]]) -> None:
    found, configs = read_optimizers(returned)
    assert [id(one) for one in found] == [id(one) for one in optimizers]
    assert {config.scheduler: shown(config) for config in configs} == schedulers


def test_a_scheduler_of_another_kind() -> None:
    class Mine:
        def step(self) -> None: ...

    scheduler = Mine()
    _, (config,) = read_optimizers(([O], [scheduler]))
    assert config.scheduler is scheduler


class Slotted:
    """Has no optimizer, but steps."""

    step = 3


@pytest.mark.parametrize(
    ("returned", "fix"),
    [
        ("adam", "Return an optimizer"),
        ([O, S], r"\[optimizers\], \[schedulers\]"),
        ([[O], None], r"\[optimizers\], \[schedulers\]"),
        (([], [S]), r"\[optimizers\], \[schedulers\]"),
        ({"optimizer": SGD}, '"optimizer": optimizer'),
        ({"optimizer": [O]}, '"optimizer": optimizer'),
        ({"a": O}, "for one, which needs no name"),
        ({"a": {"optimizer": O, "lr_scheduler": T}, "b": P}, "Return it under 'b', or make it with the optimizer 'a'"),
        ({"a": {"optimizer": O, "lr_scheduler": {"scheduler": T}}, "b": P}, "Return it under 'b'"),
        (([O], [None]), '"scheduler": scheduler'),
        (([O], [Slotted()]), r"StepLR\(optimizer, 10\)"),
        (([O], [T]), "Return the optimizer"),
        (([O], [{"scheduler": S, "frequency": 1.5}]), 'Leave "frequency" out'),
        (([O], [R]), '"monitor": "val_loss"'),
        ({"optimizer": O, "lr_scheduler": {"scheduler": R, "monitor": ""}}, '"monitor": "val_loss"'),
    ],
)
def test_mistakes(returned: Any, fix: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"What to do: .*{fix}"):
        read_optimizers(returned)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: {"optimizer": O, "scheduler": S}, r"mean nothing: \['scheduler'\]\. Known are \"optimizer\""),
        (lambda: ([O], [{"scheduler": S, "freq": 1}]), r"mean nothing: \['freq'\]\. Known are \['frequency'"),
        (lambda: ([O], [{"scheduler": S, "monitor": "a"}]), "StepLR takes no metric, so its `monitor` has no effect"),
        (lambda: None, "will not change any weights"),
    ],
)
def test_what_has_no_effect_is_said(make: Callable[[], Any], says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        read_optimizers(make())


def test_whoever_steps_schedulers_needs_no_name_for_their_metric() -> None:
    with pytest.raises(MisconfigurationException, match=r'"monitor": "val_loss"'):
        read_optimizers(([O], [R]))
    _, (config,) = read_optimizers(([O], [R]), manual=True)
    assert (config.scheduler, config.monitor, config.reduce_on_plateau) == (R, None, True)


def test_without_an_optimizer_nothing_is_stepped() -> None:
    with pytest.warns(UserWarning):
        (nothing,), configs = read_optimizers(None)
    assert configs == []
    assert isinstance(nothing, NoOptimizer)
    assert nothing.step() is None
    assert nothing.step(lambda: 3) == 3
    nothing.zero_grad()
    nothing.load_state_dict(nothing.state_dict())
    assert (repr(nothing), nothing.state_dict()) == ("NoOptimizer", {})
