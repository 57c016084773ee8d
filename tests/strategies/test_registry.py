from __future__ import annotations

import pytest
import torch

from fulmen.accelerators.cpu import CPUAccelerator
from fulmen.accelerators.cuda import CUDAAccelerator
from fulmen.accelerators.registry import choose
from fulmen.environments.lightning import LightningEnvironment
from fulmen.precision.half import HalfPrecision
from fulmen.precision.precision import Precision
from fulmen.strategies.ddp import DDPStrategy
from fulmen.strategies.registry import StrategyRegistry, resolve
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.utilities.exceptions import MisconfigurationException

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["auto", "single_device"])
def test_one_device_has_one_process(name):
    accelerator, devices = choose("cpu", 1)
    strategy = resolve(name, accelerator, devices, "bf16-true")
    assert type(strategy) is SingleDeviceStrategy
    assert strategy.accelerator is accelerator
    assert strategy.root_device == CPU
    assert strategy.precision_plugin.precision == "bf16-true"


def test_a_strategy_is_taken_as_it_is_and_lacks_nothing_afterwards():
    accelerator, precision = CPUAccelerator(), HalfPrecision()
    whole = SingleDeviceStrategy("cpu", accelerator, None, precision)
    assert resolve(whole, CPUAccelerator(), [CPU]) is whole
    assert (whole.accelerator, whole.precision_plugin) == (accelerator, precision)
    bare = SingleDeviceStrategy()
    resolve(bare, accelerator, [CPU])
    assert bare.accelerator is accelerator
    assert type(bare.precision_plugin) is Precision


def test_a_strategys_own_device_goes_before_the_chosen_one():
    strategy = resolve(SingleDeviceStrategy("cpu"), CUDAAccelerator(), [torch.device("cuda", 0)])
    assert isinstance(strategy.accelerator, CPUAccelerator)
    with pytest.warns(UserWarning, match="not supported on the CPU"):
        strategy = resolve(SingleDeviceStrategy("cpu"), CUDAAccelerator(), [torch.device("cuda", 0)], "16-mixed")
    assert strategy.precision_plugin.precision == "bf16-mixed"


def test_a_precision_given_twice_is_an_error():
    strategy = SingleDeviceStrategy(precision_plugin=HalfPrecision())
    with pytest.raises(MisconfigurationException, match=r"(?s)given twice.*Leave one of them away"):
        resolve(strategy, CPUAccelerator(), [CPU], "32-true")


@pytest.mark.parametrize("name", ["fsdp", "deepspeed_stage_2", "dp", "xla", "single_tpu"])
def test_strategies_for_models_in_parts_come_later(name):
    with pytest.raises(MisconfigurationException, match=r'(?s)not supported yet.*devices=1, strategy="auto"'):
        resolve(name, CPUAccelerator(), [CPU])


STARTS = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}
UNUSED = {"": {}, "_find_unused_parameters_true": {"find_unused_parameters": True}} | {
    "_find_unused_parameters_false": {"find_unused_parameters": False}
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("unused", UNUSED)
def test_a_name_says_how_processes_start_and_what_ddp_is_told(name, unused):
    strategy = resolve(name + unused, CPUAccelerator(), [CPU] * 2, num_nodes=3)
    assert type(strategy) is DDPStrategy
    assert (strategy._start_method, strategy._ddp_kwargs) == (STARTS[name], UNUSED[unused])
    assert (strategy.num_processes, strategy.num_nodes, strategy.world_size) == (2, 3, 6)
    assert (strategy.global_rank, strategy.local_rank, strategy.node_rank) == (0, 0, 0)
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 6, "rank": 0}


@pytest.mark.parametrize("devices, num_nodes", [(2, 1), (1, 2)])
def test_auto_is_ddp_for_several_processes(devices, num_nodes):
    strategy = resolve("auto", CPUAccelerator(), [CPU] * devices, num_nodes=num_nodes)
    assert type(strategy) is DDPStrategy
    assert strategy._start_method == "popen"


def test_auto_forks_where_somebody_types(monkeypatch):
    monkeypatch.setattr("fulmen.strategies.registry.interactive", lambda: True)
    assert resolve("auto", CPUAccelerator(), [CPU] * 2)._start_method == "fork"


@pytest.mark.parametrize("devices, num_nodes", [(2, 1), (1, 2)])
def test_one_process_is_not_several(devices, num_nodes):
    match = rf'(?s)one process on one device.*{devices} devices on {num_nodes} machines.*strategy="ddp".*devices=1'
    with pytest.raises(MisconfigurationException, match=match):
        resolve(SingleDeviceStrategy(), CPUAccelerator(), [CPU] * devices, num_nodes=num_nodes)


def test_a_strategys_own_devices_go_before_the_chosen_ones():
    asked = []

    class Noting(LightningEnvironment):
        def validate_settings(self, num_devices, num_nodes):
            asked.append((num_devices, num_nodes))

    strategy = DDPStrategy(parallel_devices=[CPU] * 3)
    assert resolve(strategy, CPUAccelerator(), [CPU], environment=Noting()) is strategy
    assert strategy.world_size == 3
    assert asked == [(3, 1)]


def test_the_environment_is_asked_and_kept():
    class Strict(LightningEnvironment):
        def validate_settings(self, num_devices, num_nodes):
            if num_nodes != 1:
                raise ValueError("one machine")

    environment = Strict()
    assert resolve("auto", CPUAccelerator(), [CPU], environment=environment).cluster_environment is environment
    with pytest.raises(ValueError, match="one machine"):
        resolve("auto", CPUAccelerator(), [CPU], num_nodes=2, environment=environment)
    environment.set_world_size(4)
    with pytest.raises(MisconfigurationException, match=r"(?s)4 processes.*devices=1"):
        resolve("single_device", CPUAccelerator(), [CPU], environment=environment)


@pytest.mark.parametrize(
    "name, remedy",
    [("single-device", "Did you mean 'single_device'"), (None, "Choose among: 'auto'"), (3, "auto"), ("ddq", "Choose")],
)
def test_an_unknown_name_offers_the_closest(name, remedy):
    with pytest.raises(MisconfigurationException, match=remedy):
        resolve(name, CPUAccelerator(), [CPU])


def test_a_users_strategy_works_by_name():
    try:

        @StrategyRegistry.register("elsewhere", device="meta")
        class Elsewhere(SingleDeviceStrategy):
            strategy_name = "elsewhere_too"

        Elsewhere.register_strategies(StrategyRegistry)
        assert {"elsewhere", "elsewhere_too"} <= set(StrategyRegistry.available_strategies())
        strategy = resolve("elsewhere", CPUAccelerator(), [CPU])
        assert isinstance(strategy, Elsewhere)
        assert strategy.root_device.type == "meta"
    finally:
        for name in ("elsewhere", "elsewhere_too"):
            StrategyRegistry.pop(name, None)
