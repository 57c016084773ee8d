"""Strategies under the names of 1.x, and what 1.x's Trainer tells of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fulmen import Trainer
from fulmen.compat import v1
from fulmen.compat.v1.strategies import DDPPlugin, DDPSpawnPlugin, DDPSpawnStrategy
from fulmen.plugins import TorchSyncBatchNorm
from fulmen.strategies import DDPStrategy

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.v1.hints.FormerInterfaceWarning")
QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


@pytest.mark.parametrize(
    ("kind", "start"), [(DDPPlugin, "popen"), (DDPSpawnPlugin, "spawn"), (DDPSpawnStrategy, "spawn")]
)
def test_a_class_of_1x_is_ddp_with_its_start(kind: type[DDPStrategy], start: str) -> None:
    strategy = kind(parallel_devices=[torch.device("cpu")] * 2, find_unused_parameters=False)
    assert isinstance(strategy, DDPStrategy)
    assert (strategy._start_method, strategy._ddp_kwargs) == (start, {"find_unused_parameters": False})
    assert strategy.num_processes == 2


def test_a_strategy_by_name_is_an_instance_of_its_class() -> None:
    """As code asks that was written when each way to start had a class of its own."""
    by_name = Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", **QUIET).strategy
    assert isinstance(by_name, DDPSpawnStrategy) and isinstance(by_name, DDPSpawnPlugin)
    again = Trainer(accelerator="cpu", devices=2, strategy="ddp", **QUIET).strategy
    assert isinstance(again, DDPPlugin) and not isinstance(again, DDPSpawnStrategy)
    assert not isinstance(Trainer(accelerator="cpu", devices=1, **QUIET).strategy, DDPPlugin)


def test_batch_norm_goes_over_all_processes_where_a_plugin_says_so() -> None:
    assert isinstance(DDPPlugin(sync_batchnorm=True)._layer_sync, TorchSyncBatchNorm)
    assert DDPPlugin(num_nodes=3)._layer_sync is None


@pytest.mark.parametrize(
    ("flags", "strategy", "start"),
    [
        ({"accelerator": "ddp_cpu", "num_processes": 2}, "ddp_spawn", "spawn"),
        ({"num_processes": 2, "strategy": "ddp"}, "ddp", "popen"),
        ({"num_processes": 2, "accelerator": "cpu", "plugins": "ddp_spawn"}, "ddp_spawn", "spawn"),
        (
            {"num_processes": 2, "accelerator": "cpu", "plugins": DDPPlugin(static_graph=True)},
            "ddp",
            "popen",
        ),
        ({"num_processes": 2, "distributed_backend": "ddp_spawn", "gpus": 0}, "ddp_spawn", "spawn"),
    ],
)
def test_flags_of_1x_make_several_processes(flags: dict[str, Any], strategy: str, start: str) -> None:
    v1.speak()
    trainer: Any = Trainer(**flags, replace_sampler_ddp=False, sync_batchnorm=True, **QUIET)
    assert type(trainer.strategy).__mro__.index(DDPStrategy) <= 2
    assert (trainer.strategy._start_method, trainer.world_size) == (start, 2)
    assert not trainer.use_distributed_sampler and trainer.strategy._layer_sync is not None
    assert trainer.data_parallel and trainer.use_ddp and trainer.num_processes == 2
    assert not (trainer.use_dp or trainer.use_ddp2 or trainer.use_horovod)
    assert trainer.accelerator_connector.is_distributed


def test_one_process_is_none_of_them() -> None:
    v1.speak()
    trainer: Any = Trainer(accelerator="cpu", devices=1, **QUIET)
    assert not trainer.use_ddp and not trainer.data_parallel and trainer.distributed_backend is None
