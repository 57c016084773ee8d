from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fulmen.accelerators.cpu import CPUAccelerator
from fulmen.strategies.single_device import SingleDeviceStrategy


def test_one_process_agrees_with_itself():
    strategy = SingleDeviceStrategy()
    tensor = torch.ones(3)
    assert strategy.reduce(tensor) is strategy.reduce(tensor, reduce_op="sum") is tensor
    assert strategy.all_gather(tensor, sync_grads=True) is tensor
    assert strategy.broadcast({"a": 1}) == {"a": 1}
    strategy.barrier("here")
    assert strategy.reduce_boolean_decision(True, all=False)
    assert not strategy.reduce_boolean_decision(False, all=True)
    assert strategy.is_global_zero
    assert (strategy.global_rank, strategy.local_rank, strategy.node_rank, strategy.world_size) == (0, 0, 0, 1)


@pytest.mark.parametrize("device", ["cuda:1", torch.device("cuda", 1)])
def test_the_device_is_what_was_passed(device):
    assert SingleDeviceStrategy(device).root_device == torch.device("cuda", 1)


def test_the_accelerator_follows_the_device():
    assert isinstance(SingleDeviceStrategy().accelerator, CPUAccelerator)
    assert SingleDeviceStrategy("meta").accelerator.name() == "meta"


def test_a_model_moves_to_the_device():
    strategy = SingleDeviceStrategy("meta")
    strategy.model_to_device()
    model = nn.Linear(2, 2)
    strategy.connect(model)
    strategy.model_to_device()
    assert model.weight.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_a_run_moves_model_and_optimizer_there_and_back():
    device = torch.device(torch.accelerator.current_accelerator().type, 0)
    strategy = SingleDeviceStrategy(device)
    model = nn.Linear(2, 2)
    strategy.connect(model)
    strategy.setup_environment()
    strategy.setup(SimpleNamespace(local_rank=0))
    assert model.weight.device == device
    strategy.optimizers = [torch.optim.Adam(model.parameters())]
    strategy.setup_precision_plugin()
    model(strategy.batch_to_device(torch.ones(1, 2))).sum().backward()
    strategy.optimizer_step(strategy.optimizers[0], lambda: None)
    saved = {"optimizer_states": [strategy.optimizer_state(strategy.optimizers[0])]}
    strategy.load_optimizer_state_dict(saved)
    state = strategy.optimizers[0].state[model.weight]
    assert state["exp_avg"].device == device
    assert state["step"].device.type == "cpu"
    strategy.teardown()
    assert model.weight.device.type == "cpu"
    assert strategy.optimizers[0].state[model.weight]["exp_avg"].device.type == "cpu"
    with strategy.tensor_init_context():
        assert torch.zeros(1).device == device
