"""Attributes that 1.x's Trainer had up to 1.4, and parts of it that were named without an underscore."""

from __future__ import annotations

from typing import Any

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
