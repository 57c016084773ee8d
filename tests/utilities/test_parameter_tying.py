from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fulmen.utilities.parameter_tying import find_shared_parameters, set_shared_parameters


def net() -> nn.Module:
    made = nn.Module()
    made.a, made.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    made.c = nn.Sequential(made.a, nn.Linear(2, 2))
    made.b.weight = made.a.weight
    return made


def test_names_of_one_parameter_belong_together() -> None:
    assert find_shared_parameters(net()) == [["a.weight", "b.weight", "c.0.weight"]]
    assert find_shared_parameters(nn.Linear(2, 2)) == []


def test_what_a_conversion_has_parted_is_shared_again() -> None:
    module = net()
    shared = find_shared_parameters(module)
    module.b = copy.deepcopy(module.b)
    assert module.b.weight is not module.a.weight
    assert set_shared_parameters(module, shared) is module
    assert module.b.weight is module.a.weight is module.c[0].weight
    assert find_shared_parameters(module) == shared


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        set_shared_parameters(net(), [["a.nothing", "b.weight"]])


def test_gradients_meet() -> None:
    module = net()
    (module.a(torch.ones(1, 2)) + module.b(torch.ones(1, 2))).sum().backward()
    assert torch.equal(module.a.weight.grad, torch.full((2, 2), 2.0))
