from __future__ import annotations

import torch
from torch import nn

from fulmen.strategies.empty_init import EmptyInit


def test_layers_draw_no_random_numbers_inside():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with EmptyInit():
        layer = nn.Linear(4, 4)
        assert nn.init.normal_(tensor=layer.weight) is layer.weight
        assert nn.init.uniform_(layer.bias) is layer.bias
    assert torch.equal(torch.rand(1), expected)


def test_all_else_works_inside():
    with EmptyInit():
        assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))
