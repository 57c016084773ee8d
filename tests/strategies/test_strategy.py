from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fulmen.accelerators.cpu import CPUAccelerator
from fulmen.precision.amp import MixedPrecision
from fulmen.precision.double import DoublePrecision
from fulmen.precision.half import HalfPrecision
from fulmen.precision.precision import Precision
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.exceptions import MisconfigurationException


class Model(nn.Module):
    """What a strategy needs of a module: steps, and the hooks that move a batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.moves = []

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    validation_step = test_step = predict_step = training_step

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        self.moves.append((device, dataloader_idx))
        return batch.to(device)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch + 1


def connected(**options):
    strategy = SingleDeviceStrategy(**options)
    strategy.connect(Model())
    return strategy


def test_it_takes_part_only_when_it_is_complete():
    with pytest.raises(TypeError, match="abstract"):
        Strategy()


def test_the_parts_have_defaults_and_can_be_replaced():
    accelerator, io, precision = CPUAccelerator(), object(), HalfPrecision()
    strategy = SingleDeviceStrategy("cpu", accelerator, io, precision)
    assert (strategy.accelerator, strategy.checkpoint_io, strategy.precision_plugin) == (accelerator, io, precision)
    bare = SingleDeviceStrategy()
    assert type(bare.precision_plugin) is Precision
    assert bare.checkpoint_io is bare.lightning_module is bare.model is bare.launcher is None
    assert bare.optimizers == bare.lr_scheduler_configs == []
    bare.precision_plugin, bare.accelerator = precision, accelerator
    assert (bare.precision_plugin, bare.accelerator) == (precision, accelerator)
    assert bare.lightning_restore_optimizer
    assert not bare.handles_gradient_accumulation
    assert not bare.restore_checkpoint_after_setup
    assert bare.cluster_environment.world_size() == 1


def test_setup_gives_the_model_its_precision():
    strategy = connected(precision_plugin=DoublePrecision())
    strategy.setup_environment()
    strategy.setup(SimpleNamespace(local_rank=0))
    assert strategy.lightning_module.layer.weight.dtype is torch.double
    strategy.setup_precision_plugin()
    strategy.teardown()


def test_the_precision_sees_and_may_replace_the_parts():
    class Own(Precision):
        def connect(self, model, optimizers, lr_schedulers):
            return model, optimizers[:1], ["replaced"]

    strategy = connected(precision_plugin=Own())
    first, second = (torch.optim.SGD(strategy.model.parameters(), lr=0.1) for _ in range(2))
    strategy.optimizers = [first, second]
    strategy.setup_precision_plugin()
    assert strategy.lr_scheduler_configs == ["replaced"]
    assert strategy.optimizers == [first]


def test_teardown_tells_all_parts():
    told = []

    class Own(Precision):
        def teardown(self):
            told.append("precision")

    class CPU(CPUAccelerator):
        def teardown(self):
            told.append("accelerator")

    io = SimpleNamespace(teardown=lambda: told.append("io"))
    strategy = SingleDeviceStrategy("cpu", CPU(), io, Own())
    strategy.teardown()
    assert told == ["precision", "accelerator", "io"]


@pytest.mark.parametrize("name", ["training_step", "validation_step", "test_step", "predict_step"])
def test_steps_run_in_the_precisions_context(name):
    strategy = connected(precision_plugin=MixedPrecision("bf16-mixed", "cpu"))
    assert getattr(strategy, name)(torch.ones(2, 3), 0).dtype is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_a_training_step_is_the_one_written_by_hand():
    strategy = connected()
    optimizer = torch.optim.SGD(strategy.model.parameters(), lr=0.1)
    twin = copy.deepcopy(strategy.model)
    loss = strategy.training_step(torch.ones(2, 3), 0)
    assert strategy.backward(loss, optimizer) is loss
    strategy.optimizer_step(optimizer, lambda: None)
    twin(torch.ones(2, 3)).sum().backward()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    assert torch.equal(twin.layer.weight, strategy.model.layer.weight)


def test_backward_scales_where_the_precision_does():
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    strategy = connected(precision_plugin=precision)
    scaled = strategy.backward(strategy.training_step(torch.ones(2, 3), 0).float(), None)
    assert scaled.item() == pytest.approx(8 * strategy.training_step(torch.ones(2, 3), 0).item())
    assert strategy.model.layer.bias.grad.item() == 16.0


def test_a_batch_moves_by_the_modules_hooks():
    strategy = connected()
    assert torch.equal(strategy.batch_to_device(torch.zeros(2), dataloader_idx=3), torch.ones(2))
    assert strategy.lightning_module.moves == [(torch.device("cpu"), 3)]


def test_a_batch_moves_without_a_module_too():
    strategy = SingleDeviceStrategy("meta")
    moved = strategy.batch_to_device({"x": torch.zeros(2)})
    assert moved["x"].device.type == "meta"
    assert strategy.batch_to_device(torch.zeros(2), torch.device("cpu")).device.type == "cpu"
    loader = [moved]
    assert strategy.process_dataloader(loader) is loader


def test_weights_of_a_compiled_module_have_the_names_it_was_written_with():
    strategy = SingleDeviceStrategy()
    model = Model()
    compiled = torch.compile(model, backend="eager")
    assert list(compiled.state_dict()) == ["_orig_mod.layer.weight", "_orig_mod.layer.bias"]
    strategy.connect(compiled)
    state = strategy.lightning_module_state_dict()
    assert list(state) == ["layer.weight", "layer.bias"]
    assert strategy.lightning_module is model
    assert strategy.model is compiled
    changed = {name: value + 1 for name, value in state.items()}
    strategy.load_model_state_dict({"state_dict": changed})
    assert torch.equal(model.layer.weight, changed["layer.weight"])


def test_strictness_of_names_is_passed_on():
    strategy = connected()
    strategy.load_model_state_dict({"state_dict": {}}, strict=False)
    with pytest.raises(RuntimeError, match=r"layer\.weight"):
        strategy.load_model_state_dict({"state_dict": {}})


def test_optimizers_get_their_states_back():
    strategy = connected()
    strategy.optimizers = [torch.optim.Adam(strategy.model.parameters()) for _ in range(2)]
    for optimizer in strategy.optimizers:
        strategy.backward(strategy.training_step(torch.ones(2, 3), 0), optimizer)
        strategy.optimizer_step(optimizer, lambda: None)
    states = [copy.deepcopy(strategy.optimizer_state(optimizer)) for optimizer in strategy.optimizers]
    strategy.optimizers = [torch.optim.Adam(strategy.model.parameters()) for _ in range(2)]
    strategy.load_optimizer_state_dict({"optimizer_states": states})
    for optimizer, state in zip(strategy.optimizers, states, strict=True):
        assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], state["state"][0]["exp_avg"])


def test_states_for_other_optimizers_are_refused():
    strategy = connected()
    strategy.optimizers = [torch.optim.SGD(strategy.model.parameters(), lr=0.1)]
    with pytest.raises(MisconfigurationException, match=r"(?s)0 states.*`Model.load_from_checkpoint\(path\)`"):
        strategy.load_optimizer_state_dict({"optimizer_states": []})


class Disk:
    def __init__(self) -> None:
        self.files = {}

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.files[path] = (checkpoint, storage_options)

    def load_checkpoint(self, path, map_location=None, weights_only="not given"):
        return {**self.files[path][0], "weights_only": weights_only}

    def remove_checkpoint(self, path):
        del self.files[path]


def test_checkpoints_go_through_the_checkpoint_io():
    disk = Disk()
    strategy = SingleDeviceStrategy(checkpoint_io=disk)
    strategy.save_checkpoint({"a": 1}, "here", storage_options="fast")
    assert disk.files == {"here": ({"a": 1}, "fast")}
    assert strategy.load_checkpoint("here") == {"a": 1, "weights_only": "not given"}
    assert strategy.load_checkpoint("here", weights_only=True)["weights_only"] is True
    strategy.remove_checkpoint("here")
    assert disk.files == {}


def test_only_rank_zero_writes_and_removes():
    disk = Disk()
    strategy = SingleDeviceStrategy(checkpoint_io=disk)
    disk.save_checkpoint({}, "kept")
    strategy.global_rank = 1
    strategy.save_checkpoint({}, "new")
    strategy.remove_checkpoint("kept")
    assert not strategy.is_global_zero
    assert list(disk.files) == ["kept"]


def test_without_a_checkpoint_io_it_says_who_gives_one():
    with pytest.raises(MisconfigurationException, match=r"SingleDeviceStrategy\(checkpoint_io=\.\.\.\)"):
        SingleDeviceStrategy().save_checkpoint({}, "here")


def test_layers_made_in_its_context_have_device_and_precision():
    strategy = SingleDeviceStrategy("meta", precision_plugin=HalfPrecision("bf16-true"))
    with strategy.tensor_init_context(), strategy.model_sharded_context():
        layer = nn.Linear(2, 2)
    assert (layer.weight.device.type, layer.weight.dtype) == ("meta", torch.bfloat16)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with SingleDeviceStrategy().tensor_init_context(empty_init=True):
        nn.Linear(2, 2)
    assert torch.equal(torch.rand(1), expected)
