"""Devices, precisions, strategies, environments and checkpoints."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import nn

import fulmen as pl
from fulmen import accelerators
from fulmen.accelerators import cpu, cuda, mps
from fulmen.demos.boring_classes import BoringDataModule, BoringModel
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import find_free_network_port
from fulmen.plugins import AsyncCheckpointIO, TorchCheckpointIO, TorchSyncBatchNorm
from fulmen.plugins.environments import (
    KubeflowEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from fulmen.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from fulmen.strategies import DDPStrategy, SingleDeviceStrategy, process_group
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

from .runs import SMALL, Model

NO_DEVICE = (RuntimeError, AssertionError, ValueError, ModuleNotFoundError, OSError, NotImplementedError, Exception)


def devices(folder: Path) -> None:
    """What each kind of device tells; what is not there says so."""
    for kind in (accelerators.CPUAccelerator(), accelerators.CUDAAccelerator(), accelerators.MPSAccelerator()):
        device = torch.device(kind.name().lower())
        for call in (
            lambda kind=kind: kind.is_available(),
            lambda kind=kind: kind.auto_device_count(),
            lambda kind=kind: kind.parse_devices(1),
            lambda kind=kind: kind.get_parallel_devices([0] if kind.name() != "cpu" else 1),
            lambda kind=kind, device=device: kind.setup_device(device),
            lambda kind=kind: kind.setup(pl.Trainer(**SMALL)),
            lambda kind=kind, device=device: kind.get_device_stats(device),
            lambda kind=kind: kind.register_accelerators(accelerators.AcceleratorRegistry),
            lambda kind=kind: kind.teardown(),
        ):
            with suppress(*NO_DEVICE):
                call()
    assert accelerators.Accelerator.name(accelerators.CPUAccelerator()) == "cpu"
    with suppress(*NO_DEVICE):
        accelerators.Accelerator.get_device_stats(accelerators.CPUAccelerator(), torch.device("cpu"))
    for call in (
        lambda: accelerators.find_usable_cuda_devices(0),
        lambda: cpu.get_cpu_stats(),
        lambda: cuda.get_nvidia_gpu_stats(torch.device("cuda", 0)),
        lambda: cuda.CUDAAccelerator.set_nvidia_flags(0),
        lambda: mps.get_device_stats(),
    ):
        with suppress(*NO_DEVICE):
            call()


def _ask(environment: ClusterEnvironment) -> None:
    environment.detect() if not isinstance(environment, KubeflowEnvironment) else None
    for name in ("creates_processes_externally", "main_address", "main_port"):
        getattr(environment, name)
    environment.set_world_size(1)
    environment.set_global_rank(0)
    for name in ("world_size", "global_rank", "local_rank", "node_rank"):
        getattr(environment, name)()
    environment.validate_settings(1, 1)
    environment.teardown()


class _World:
    """A communicator of one process, in the place of ``mpi4py``'s."""

    def Get_size(self) -> int:
        return 1

    def Get_rank(self) -> int:
        return 0

    def bcast(self, value: Any, root: int) -> Any:
        return value

    def gather(self, value: Any, root: int) -> list[Any]:
        return [value]

    def Split(self, color: int) -> _World:
        return self


def environments(folder: Path) -> None:
    """Each kind of cluster, with the variables that it sets."""
    before = getattr(rank_zero_only, "rank", None)
    (folder / "hosts").write_text(f"batch\n{socket.gethostname()}\n")
    common = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    slurm = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_ID": "7", "NODELIST": "a[1-2]"}
    lsf = {"LSB_DJOB_RANKFILE": str(folder / "hosts"), "LSB_JOBID": "1", "JSM_NAMESPACE_SIZE": "1"}
    lsf |= {"JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_LOCAL_RANK": "0"}
    package, module = ModuleType("mpi4py"), ModuleType("mpi4py.MPI")
    module.COMM_WORLD = _World()  # type: ignore[attr-defined]
    for kind, variables in (
        (LightningEnvironment, {}),
        (TorchElasticEnvironment, common),
        (KubeflowEnvironment, common),
        (LSFEnvironment, lsf),
        (SLURMEnvironment, {f"SLURM_{name}": value for name, value in slurm.items()}),
        (MPIEnvironment, {}),
    ):
        modules = {"mpi4py": package, "mpi4py.MPI": module}
        with mock.patch.dict(os.environ, variables), mock.patch.dict(sys.modules, modules):
            _ask(kind())
            if kind is SLURMEnvironment:
                assert SLURMEnvironment.job_id() == 7 and SLURMEnvironment.job_name() is None
    with suppress(NotImplementedError):
        KubeflowEnvironment.detect()
    assert SLURMEnvironment.resolve_root_node_address("a[1-2]") == "a1" and find_free_network_port() > 0
    rank_zero_only.rank = before  # type: ignore[attr-defined]


def precisions(folder: Path) -> None:
    """A step in each precision, by hand and in a run."""
    for precision in (Precision(), MixedPrecision("bf16-mixed", "cpu"), DoublePrecision(), HalfPrecision("bf16-true")):
        layer: nn.Module = precision.convert_module(nn.Linear(2, 1))
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        precision.connect(layer, [optimizer], [])
        for name in ("forward", "train_step", "val_step", "test_step", "predict_step"):
            with getattr(precision, f"{name}_context")():
                output = precision.convert_output(layer(precision.convert_input(torch.ones(1, 2))))
        loss = precision.pre_backward(output.sum(), layer)
        precision.backward(loss, layer, optimizer)
        precision.post_backward(loss, layer)
        precision.unscale_gradients(optimizer)
        assert len(list(precision.main_params(optimizer))) == 2
        precision.clip_gradients(optimizer, 0.5, "norm")
        precision.clip_gradients(optimizer, 0.5, "value")
        precision.clip_grad_by_norm(optimizer, 0.5)
        precision.clip_grad_by_value(optimizer, 0.5)
        precision.optimizer_step(optimizer, layer, lambda: None)
        with precision.module_init_context(), precision.tensor_init_context():
            torch.zeros(1)
        precision.load_state_dict(precision.state_dict())
        precision.teardown()
    mixed = MixedPrecision("bf16-mixed", "cpu")
    with mixed.autocast_context_manager():
        pass
    pl.Trainer(**SMALL, precision="bf16-mixed").fit(BoringModel())


def strategies(folder: Path) -> None:
    """What a strategy does, in a run and by hand."""
    strategy = SingleDeviceStrategy("cpu", checkpoint_io=TorchCheckpointIO())
    trainer = pl.Trainer(**SMALL, strategy=strategy)
    trainer.fit(Model(), datamodule=BoringDataModule())
    model = trainer.lightning_module
    strategy.connect(model)
    strategy.setup_environment()
    strategy.setup(trainer)
    strategy.setup_optimizers(trainer)
    strategy.setup_precision_plugin()
    assert strategy.is_global_zero and strategy.launcher is None and strategy.model is model
    assert not strategy.handles_gradient_accumulation and strategy.lightning_restore_optimizer
    assert not strategy.restore_checkpoint_after_setup and strategy.accelerator is not None
    batch = strategy.batch_to_device(torch.zeros(2, 32))
    assert strategy.process_dataloader([batch]) == [batch]
    (optimizer,) = strategy.optimizers
    with suppress(Exception):  # it logs outside of a loop
        strategy.training_step(batch, 0)
    with suppress(Exception):
        strategy.validation_step(batch, 0)
    strategy.test_step(batch, 0)
    strategy.predict_step(batch, 0)
    strategy.backward(model(batch).sum(), optimizer)
    strategy.optimizer_step(optimizer, lambda: None)
    assert strategy.reduce(1.0) == 1.0 and strategy.broadcast(1) == 1 and strategy.reduce_boolean_decision(True)
    strategy.all_gather(batch)
    strategy.barrier("here")
    with strategy.tensor_init_context(), strategy.model_sharded_context():
        nn.Linear(1, 1)
    checkpoint = {"state_dict": strategy.lightning_module_state_dict()}
    checkpoint["optimizer_states"] = [strategy.optimizer_state(optimizer)]
    strategy.save_checkpoint(checkpoint, folder / "file.ckpt")
    loaded = strategy.load_checkpoint(folder / "file.ckpt")
    strategy.load_model_state_dict(loaded)
    strategy.load_optimizer_state_dict(loaded)
    strategy.remove_checkpoint(folder / "file.ckpt")
    from fulmen.strategies import StrategyRegistry

    with suppress(MisconfigurationException):  # it is there already
        strategy.register_strategies(StrategyRegistry)
    strategy.teardown()
    sync = TorchSyncBatchNorm()
    sync.revert(sync.apply(nn.Sequential(nn.BatchNorm2d(2))))


def several_processes(folder: Path) -> None:
    """What the strategy of several processes does, in a group of one."""
    before = getattr(rank_zero_only, "rank", None)
    place = {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    with mock.patch.dict(os.environ, place):
        strategy = DDPStrategy(parallel_devices=[torch.device("cpu")], checkpoint_io=TorchCheckpointIO())
        trainer = pl.Trainer(**SMALL, strategy=strategy)
        assert strategy.launcher is None and strategy.num_processes == strategy.num_nodes == 1
        trainer.fit(Model(), datamodule=BoringDataModule())
        assert strategy.process_group_backend == "gloo" and strategy.determine_ddp_device_ids() is None
        assert strategy.is_distributed and strategy.distributed_sampler_kwargs == {"num_replicas": 1, "rank": 0}
        assert (strategy.global_rank, strategy.local_rank, strategy.node_rank, strategy.world_size) == (0, 0, 0, 1)
        assert strategy.all_gather(torch.ones(2)).shape == (1, 2) and strategy.broadcast("a") == "a"
        assert strategy.reduce(torch.ones(1)) == 1 and strategy.reduce_boolean_decision(True)
        strategy.barrier("here")
        with strategy.block_backward_sync():
            pass
        strategy.save_checkpoint({"a": 1}, folder / "file.ckpt")
        assert strategy.load_checkpoint(folder / "file.ckpt") == {"a": 1}
        strategy.on_exception(ValueError("an error"))
        strategy.teardown()
    process_group.leave_group()
    rank_zero_only.rank = before  # type: ignore[attr-defined]


def checkpoints(folder: Path) -> None:
    """A checkpoint is written by a thread, read and removed."""
    io: Any = AsyncCheckpointIO(TorchCheckpointIO())
    io.save_checkpoint({"a": 1}, folder / "a.ckpt")
    io.join()
    assert io.load_checkpoint(folder / "a.ckpt") == {"a": 1} and io.checkpoint_io is not None
    io.remove_checkpoint(folder / "a.ckpt")
    io.teardown()
