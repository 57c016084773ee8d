from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from fulmen.loops.window import Window, scale_gradients

WEIGHTS = st.lists(st.integers(0, 7).map(float), min_size=1, max_size=6).filter(any)
LOSSES = st.lists(st.floats(-4, 4), min_size=6, max_size=6)


@given(WEIGHTS, LOSSES, st.integers(0, 3))
def test_shares_and_correction_give_the_weighted_mean(weights: list[float], losses: list[float], more: int) -> None:
    window = Window(len(weights) + more)
    shares = [
        window.share(torch.tensor(loss, dtype=torch.float64), weight, None) for loss, weight in zip(losses, weights)
    ]
    mean = sum(loss * weight for loss, weight in zip(losses, weights)) / sum(weights)
    assert sum(shares).item() * window.correction == pytest.approx(mean, rel=1e-6, abs=1e-6)  # type: ignore[union-attr]


@given(st.integers(1, 6), st.integers(1, 5))
def test_full_windows_of_equal_batches_need_no_correction(planned: int, size: int) -> None:
    window = Window(planned)
    for _ in range(planned):
        assert window.share(torch.tensor(6.0), None, torch.ones(size, 2)).item() == pytest.approx(6.0 / planned)
    assert window.correction == 1.0


def test_a_batch_without_a_size_counts_as_one() -> None:
    window = Window(3)
    window.share(torch.tensor(1.0), None, "text")
    window.share(torch.tensor(1.0), None, {"a": []})
    assert window.correction == 1.5


def test_without_weights_nothing_is_corrected() -> None:
    window = Window(4, exact=False)
    assert window.share(torch.tensor(8.0), 5.0, None).item() == 2.0
    assert window.correction == 1.0


def test_opening_begins_anew() -> None:
    window = Window(2)
    window.share(torch.tensor(1.0), 9.0, None)
    window.open()
    window.share(torch.tensor(1.0), 1.0, None)
    assert window.correction == 2.0


def test_a_batch_without_any_weight_has_no_share() -> None:
    window = Window(2)
    assert window.share(torch.tensor(1.0), 0.0, None).item() == 0.0
    assert window.correction == 1.0


def test_gradients_are_scaled_in_place() -> None:
    parameters = [
        nn.Parameter(torch.ones(2)),
        nn.Parameter(torch.ones(1, dtype=torch.float64)),
        nn.Parameter(torch.ones(3)),
    ]
    for parameter in parameters[:2]:
        parameter.grad = torch.full_like(parameter, 2.0)
    optimizer = SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], 0.1)
    before = [parameter.grad for parameter in parameters]
    scale_gradients(optimizer, 1.5)
    assert [None if p.grad is None else p.grad.tolist() for p in parameters] == [[3.0, 3.0], [3.0], None]
    assert all(parameter.grad is grad for parameter, grad in zip(parameters, before))
    scale_gradients(optimizer, 1.0)
    assert parameters[0].grad is not None and parameters[0].grad.tolist() == [3.0, 3.0]
