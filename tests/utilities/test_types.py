from __future__ import annotations

import typing

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from fulmen.utilities import types
from fulmen.utilities.types import LRSchedulerConfig


def test_a_schedulers_defaults_are_once_an_epoch_and_strict():
    scheduler = StepLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), 1)
    config = LRSchedulerConfig(scheduler)
    assert config == LRSchedulerConfig(
        scheduler, name=None, interval="epoch", frequency=1, reduce_on_plateau=False, monitor=None, strict=True
    )


def test_scheduler_types_cover_both_families():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    for scheduler in (StepLR(optimizer, 1), ReduceLROnPlateau(optimizer)):
        assert isinstance(scheduler, types.LRSchedulerTypeTuple)
        assert isinstance(scheduler, types.LRSchedulerTypeUnion)


def test_configs_say_which_keys_they_need():
    assert types.OptimizerLRSchedulerConfig.__required_keys__ == {"optimizer", "lr_scheduler"}
    assert types.OptimizerLRSchedulerConfig.__optional_keys__ == {"monitor"}
    assert types.LRSchedulerConfigType.__required_keys__ == {"scheduler"}


def test_aliases_can_be_evaluated():
    assert torch.Tensor in typing.get_args(types.STEP_OUTPUT)
    assert torch.optim.Optimizer in typing.get_args(types.OptimizerLRScheduler)


def test_protocols_see_what_behaves_alike():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert isinstance(optimizer, types.Optimizable)
    assert isinstance(optimizer, types.Steppable)
    assert isinstance(torch.nn.Linear(1, 1), types._Stateful)
    assert not isinstance(torch.nn.Linear(1, 1), types.Steppable)
    assert isinstance([1], types._SizedIterable)
    assert not isinstance(iter([1]), types._SizedIterable)
