from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fulmen.utilities.exceptions import MisconfiguredValue
from fulmen.utilities.grads import grad_norm


@given(st.floats(0.5, 8) | st.just(math.inf), st.integers(0, 99))
def test_equals_the_norm_of_all_gradients_together(order: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    frozen = model[1].bias
    frozen.requires_grad = False
    model(torch.rand(5, 3, dtype=torch.float64)).sum().backward()
    norms = grad_norm(model, order)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(norms) == {f"grad_{order}_norm/{name}" for name in gradients} | {f"grad_{order}_norm_total"}
    for name, gradient in gradients.items():
        torch.testing.assert_close(norms[f"grad_{order}_norm/{name}"], torch.linalg.vector_norm(gradient, order))
    whole = torch.cat([gradient.flatten() for gradient in gradients.values()])
    torch.testing.assert_close(norms[f"grad_{order}_norm_total"], torch.linalg.vector_norm(whole, order))


def test_names_and_separator() -> None:
    layer = nn.Linear(2, 1, bias=False)
    assert grad_norm(layer, 2) == {}
    layer(torch.ones(1, 2)).sum().backward()
    assert list(grad_norm(layer, "inf", group_separator=".")) == ["grad_inf_norm.weight", "grad_inf_norm_total"]


@pytest.mark.parametrize("bad", [0, -1, "two", float("nan")])
def test_refuses_what_is_no_norm(bad: object) -> None:
    with pytest.raises(MisconfiguredValue, match="Pass `norm_type=2`"):
        grad_norm(nn.Linear(1, 1), bad)
