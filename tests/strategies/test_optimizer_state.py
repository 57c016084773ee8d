from __future__ import annotations

import pytest
import torch

from fulmen.strategies.optimizer_state import move_optimizer


def stepped(cls, **options):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = cls([weight], lr=0.1, **options)
    weight.grad = torch.ones(3)
    optimizer.step()
    return optimizer, optimizer.state[weight]


@pytest.mark.parametrize("flag", ["capturable", "fused", None])
def test_moments_move_and_counts_stay_on_the_host_unless_told_otherwise(flag):
    optimizer, state = stepped(torch.optim.Adam)
    if flag is not None:
        optimizer.param_groups[0][flag] = True
    move_optimizer(optimizer, torch.device("meta"))
    assert state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"
    assert state["step"].device.type == ("cpu" if flag is None else "meta")


def test_values_are_kept():
    optimizer, state = stepped(torch.optim.SGD, momentum=0.9)
    before = state["momentum_buffer"].clone()
    move_optimizer(optimizer, torch.device("cpu"))
    assert torch.equal(state["momentum_buffer"], before)


def test_an_optimizer_that_has_not_stepped_stays_empty():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    move_optimizer(optimizer, torch.device("meta"))
    assert optimizer.state_dict()["state"] == {}
