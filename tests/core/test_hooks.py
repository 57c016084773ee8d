from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from tests.runs import Net
from torch import nn

from fulmen.callbacks.callback import Callback
from fulmen.core.hooks import CheckpointHooks, DataHooks, ModelHooks, keep_modes, restore_modes
from fulmen.core.module import LightningModule


def _hooks(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}


@pytest.mark.parametrize("kind", [ModelHooks, DataHooks, CheckpointHooks])
def test_every_hook_is_documented_and_does_nothing_by_itself(kind: type) -> None:
    own = ("zero_grad", "eval", "train", "transfer")
    for name, hook in _hooks(kind).items():
        assert inspect.getdoc(hook), name
        if not any(part in name for part in own):
            arguments = [object() for _ in inspect.signature(hook).parameters]
            assert hook(*arguments) is (arguments[1] if name.endswith("_transfer") else None)


def test_callbacks_have_the_same_events_with_trainer_and_module_in_front() -> None:
    for name, hook in _hooks(ModelHooks).items():
        if name.startswith("on_") and not name.endswith(("_model_zero_grad", "_model_eval", "_model_train")):
            ours = list(inspect.signature(hook).parameters)
            theirs = list(inspect.signature(getattr(Callback, name)).parameters)
            assert theirs == ["self", "trainer", "pl_module", *ours[1:]], name


def test_a_module_has_them_all() -> None:
    for kind in (ModelHooks, DataHooks, CheckpointHooks):
        for name, hook in _hooks(kind).items():
            assert getattr(LightningModule, name) is hook


def test_transfers() -> None:
    hooks, batch = DataHooks(), [torch.ones(2), "text"]
    assert hooks.on_before_batch_transfer(batch, 0) is batch
    assert hooks.on_after_batch_transfer(batch, 1) is batch
    assert hooks.transfer_batch_to_device(batch, torch.device("meta"), 0)[0].is_meta


def test_zero_grad_before_validation() -> None:
    net = Net()
    net(torch.ones(1, 2)).sum().backward()
    net.on_validation_model_zero_grad()
    assert net.layer.weight.grad is None


@pytest.mark.parametrize("event", ["validation", "test"])
def test_modes_are_those_of_before(event: str) -> None:
    net = Net()
    net.frozen = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(1)).eval()
    net.frozen[0].train()
    before = {name: child.training for name, child in net.named_modules()}
    keep_modes(net)
    getattr(net, f"on_{event}_model_eval")()
    assert not any(child.training for child in net.modules())
    getattr(net, f"on_{event}_model_train")()
    assert {name: child.training for name, child in net.named_modules()} == before
    assert "_modes" not in vars(net)


def test_restoring_what_was_not_kept_changes_nothing() -> None:
    net = Net().eval()
    restore_modes(net)
    assert not net.training
