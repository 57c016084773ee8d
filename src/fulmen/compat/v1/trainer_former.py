"""Attributes and methods that 1.x's Trainer had, and parts of it that were named without an underscore."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from fulmen.compat.v1.views import view


def _former(trainer: Any) -> dict[str, Any]:
    kept: dict[str, Any] = trainer.__dict__.setdefault("_former", {})
    return kept


class FORMER:
    """What the Trainer showed of a run and of its arguments."""

    @view
    def batch_idx(self: Any) -> int:
        """The number of the batch in its epoch."""
        return int(self.fit_loop.epoch_loop.batch_idx)

    @view
    def total_batch_idx(self: Any) -> int:
        """The number of the batch in the run."""
        return int(self.fit_loop.epoch_loop.total_batch_idx)

    @view
    def fitting(self: Any) -> bool:
        """Whether `fit` runs."""
        return bool(self.state.fn == "fit")

    @view
    def on_tpu(self: Any) -> bool:
        """False: there are no TPUs."""
        return False

    @view
    def use_ddp(self: Any) -> bool:
        """Whether several processes act as one."""
        return bool(self.world_size > 1)

    @view
    def use_dp(self: Any) -> bool:
        """False: a process has one device."""
        return False

    @view
    def use_ddp2(self: Any) -> bool:
        """False: a process has one device."""
        return False

    @view
    def use_horovod(self: Any) -> bool:
        """False: processes talk through ``torch.distributed``."""
        return False

    @view
    def distributed_backend(self: Any) -> str | None:
        """The name of the strategy, where there are several processes."""
        return getattr(self.strategy, "strategy_name", None) if self.world_size > 1 else None

    @view
    def tested_ckpt_path(self: Any) -> Any:
        """The checkpoint that `test` was given."""
        return self.ckpt_path if self.state.fn == "test" else None

    @view
    def flush_logs_every_n_steps(self: Any) -> int | None:
        """How often loggers were to write; None for as they like."""
        return _former(self).get("flush_logs_every_n_steps")

    @view
    def reload_dataloaders_every_epoch(self: Any) -> bool:
        """Whether loaders are asked for anew for each epoch."""
        return bool(self.reload_dataloaders_every_n_epochs == 1)

    @view
    def truncated_bptt_steps(self: Any) -> int | None:
        """After how many time steps gradients are cut."""
        return _former(self).get("truncated_bptt_steps")

    @view
    def logger_connector(self: Any) -> Any:
        """What knows of loggers and metrics."""
        return self._logger_connector

    @view
    def data_connector(self: Any) -> Any:
        """What knows of loaders."""
        return self._data_connector

    @view
    def checkpoint_connector(self: Any) -> Any:
        """What saves and restores."""
        return self._checkpoint_connector

    @view
    def is_slurm_managing_tasks(self: Any) -> bool:
        """Whether SLURM has started the processes."""
        environment = getattr(self.strategy, "cluster_environment", None)
        return any(base.__name__ == "SLURMEnvironment" for base in type(environment).__mro__)


class TOLD:
    """What the Trainer was told, and what was asked of it about a module."""

    @view
    def early_stop_callback(self: Any) -> Any:
        """The first callback that stops early, or None."""
        return self.early_stopping_callback

    @view
    def accumulation_scheduler(self: Any) -> Any:
        """The callback that says how many batches make a step; one of its kind that says so where there is none."""
        from fulmen.callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler

        found = self._of_kind("GradientAccumulationScheduler")
        return found[0] if found else GradientAccumulationScheduler({0: self.accumulate_grad_batches})

    @view
    def benchmark(self: Any) -> bool:
        """Whether cuDNN looks for the fastest kernels."""
        return torch.backends.cudnn.benchmark

    @view
    def deterministic(self: Any) -> bool:
        """Whether torch uses deterministic algorithms alone."""
        return torch.are_deterministic_algorithms_enabled()

    @view
    def move_metrics_to_cpu(self: Any) -> bool:
        """Whether the outputs of steps are kept on the CPU."""
        return bool(_former(self).get("move_metrics_to_cpu"))

    @view
    def multiple_trainloader_mode(self: Any) -> str:
        """When several training loaders end."""
        return str(_former(self).get("multiple_trainloader_mode") or "max_size_cycle")

    @view
    def prepare_data_per_node(self: Any) -> bool:
        """Whether each machine prepares data."""
        told = _former(self).get("prepare_data_per_node")
        return told is None or bool(told)

    @view
    def process_position(self: Any) -> int:
        """The line of the bar."""
        return int(_former(self).get("process_position") or 0)

    @view
    def validated_ckpt_path(self: Any) -> Any:
        """The checkpoint that `validate` was given."""
        return self.ckpt_path if self.state.fn == "validate" else None

    def is_function_implemented(self: Any, f_name: str, model: Any = None) -> bool:
        """Whether a module has a method.

        Args:
            f_name: The name of the method.
            model: The module; None for the one that runs.
        """
        return callable(getattr(model or self.lightning_module, f_name, None))

    def has_arg(self: Any, f_name: str, arg_name: str) -> bool:
        """Whether a method of the module takes an argument.

        Args:
            f_name: The name of the method.
            arg_name: The name of the argument.
        """
        return arg_name in inspect.signature(getattr(self.lightning_module, f_name)).parameters
