from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks import GradientAccumulationScheduler
from fulmen.utilities.exceptions import MisconfigurationException

from .simulated_run import SimulatedRun


@given(st.dictionaries(st.integers(0, 8), st.integers(1, 4), min_size=1))
def test_each_epoch_has_its_factor(scheduling: dict[int, int]) -> None:
    scheduler = GradientAccumulationScheduler(scheduling)
    factors: list[int] = []
    simulated = SimulatedRun(scheduler)
    simulated.end_of_epoch = lambda: factors.append(simulated.accumulate_grad_batches)
    simulated.fit(epochs=10, batches=1)
    expected, factor = [], 1
    for epoch in range(10):
        factor = scheduling.get(epoch, factor)
        expected.append(factor)
    assert factors == expected
    assert scheduler.going_to_accumulate_grad_batches() == any(f > 1 for f in scheduling.values())


def test_attributes() -> None:
    scheduler = GradientAccumulationScheduler({4: 2})
    assert scheduler.scheduling == {4: 2, 0: 1} and scheduler.epochs == [0, 4]


@pytest.mark.parametrize("scheduling", [{-1: 2}, {0: 0}, {0: 1.5}, {0.5: 1}, {0: "a"}, {True: 2}, {}, None])
def test_bad_schedules(scheduling: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"`\{0: 8, 4: 4, 8: 1\}`"):
        GradientAccumulationScheduler(scheduling)


def test_nobody_else_sets_the_factor() -> None:
    with pytest.raises(MisconfigurationException, match="Remove one of the two"):
        SimulatedRun(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=2).fit()


def test_manual_optimization() -> None:
    by_hand = SimpleNamespace(automatic_optimization=False)
    with pytest.raises(MisconfigurationException, match="Remove the callback"):
        SimulatedRun(GradientAccumulationScheduler({1: 2}), module=by_hand).fit()
