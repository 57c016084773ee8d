"""What attributes of 1.x's Trainer show: views of what lies elsewhere today."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fulmen.compat.v1.trainer_former import FORMER, TOLD
from fulmen.compat.v1.views import view

if TYPE_CHECKING:
    from fulmen.utilities.types import LRSchedulerConfig


def _former(trainer: Any) -> dict[str, Any]:
    kept: dict[str, Any] = trainer.__dict__.setdefault("_former", {})
    return kept


def _gpus(trainer: Any) -> list[int]:
    device = trainer.strategy.root_device
    return list(trainer.device_ids) if device.type not in ("cpu", "meta") else []


class DEVICES:
    """Where the Trainer runs."""

    @view
    def gpus(self: Any) -> Any:
        """What was given as `gpus`; else how many there are in use, or None."""
        return _former(self).get("gpus", len(_gpus(self)) or None)

    @view
    def num_gpus(self: Any) -> int:
        """How many GPUs are in use."""
        return len(_gpus(self))

    @view
    def root_gpu(self: Any) -> int | None:
        """The index of the GPU of this process."""
        return next(iter(_gpus(self)), None)

    @view
    def on_gpu(self: Any) -> bool:
        """Whether it runs on a GPU."""
        return bool(_gpus(self))

    @view
    def data_parallel_device_ids(self: Any) -> list[int] | None:
        """The indices of the GPUs."""
        return _gpus(self) or None

    @view
    def devices(self: Any) -> int:
        """How many devices are in use."""
        return int(self.num_devices)

    @view
    def num_processes(self: Any) -> int:
        """How many processes run on this machine."""
        return max(int(self.world_size) // int(self.num_nodes), 1)

    @view
    def tpu_cores(self: Any) -> int | None:
        """None: there are no TPUs."""
        return None

    @view
    def ipus(self: Any) -> int:
        """0: there are no IPUs."""
        return 0

    @view
    def data_parallel(self: Any) -> bool:
        """Whether several processes or devices share the batches."""
        return bool(self.world_size > 1)

    @view
    def training_type_plugin(self: Any) -> Any:
        """The strategy."""
        return self.strategy

    @view
    def accelerator_backend(self: Any) -> Any:
        """The accelerator."""
        return self.accelerator

    @view
    def accelerator_connector(self: Any) -> Any:
        """What was chosen of devices, strategy and precision."""
        return SimpleNamespace(
            accelerator=self.accelerator, strategy=self.strategy, training_type_plugin=self.strategy,
            precision_plugin=self.precision_plugin, precision=self.precision, num_nodes=self.num_nodes,
            num_processes=self.num_processes, num_gpus=self.num_gpus, gpus=self.gpus, root_gpu=self.root_gpu,
            devices=self.num_devices, parallel_device_ids=self.data_parallel_device_ids, tpu_cores=None,
            is_distributed=self.data_parallel, amp_backend=self.amp_backend, use_ddp=self.data_parallel, use_dp=False,
        )  # fmt: skip

    @view
    def amp_backend(self: Any) -> str | None:
        """``"native"`` under mixed precision, else None."""
        return "native" if "mixed" in self.precision else None

    @view
    def use_amp(self: Any) -> bool:
        """Whether it runs in 16 bits."""
        return str(self.precision).startswith("16")

    @view
    def slurm_job_id(self: Any) -> int | None:
        """The number of the job under SLURM, else None."""
        number = os.environ.get("SLURM_JOB_ID", "")
        return int(number) if number.isdigit() and os.environ.get("SLURM_JOB_NAME") != "bash" else None

    @view
    def should_rank_save_checkpoint(self: Any) -> bool:
        """Whether this process writes checkpoints."""
        return bool(self.is_global_zero)


class FLAGS:
    """What the Trainer was told."""

    @view
    def weights_save_path(self: Any) -> str:
        """Where checkpoints go that have no place of their own."""
        given = _former(self).get("weights_save_path")
        return str(self.default_root_dir if given is None else os.path.abspath(given))

    @property
    def resume_from_checkpoint(self: Any) -> Any:
        """The checkpoint that `fit` goes on from, where it is given none."""
        return _former(self).get("resume_from_checkpoint")

    @resume_from_checkpoint.setter
    def resume_from_checkpoint(self: Any, path: Any) -> None:
        _former(self)["resume_from_checkpoint"] = path

    @property
    def terminate_on_nan(self: Any) -> bool:
        """Whether a run ends where the loss or a weight is not finite."""
        return bool(_former(self).get("terminate_on_nan"))

    @terminate_on_nan.setter
    def terminate_on_nan(self: Any, val: bool) -> None:
        _former(self)["terminate_on_nan"] = val

    @property
    def track_grad_norm(self: Any) -> Any:
        """Which norm of the gradients is logged; -1 for none."""
        return _former(self).get("track_grad_norm", -1)

    @track_grad_norm.setter
    def track_grad_norm(self: Any, norm: Any) -> None:
        _former(self)["track_grad_norm"] = norm

    @property
    def auto_lr_find(self: Any) -> Any:
        """What `tune` looks for a rate for."""
        return _former(self).get("auto_lr_find", False)

    @auto_lr_find.setter
    def auto_lr_find(self: Any, value: Any) -> None:
        _former(self)["auto_lr_find"] = value

    @property
    def auto_scale_batch_size(self: Any) -> Any:
        """How `tune` looks for a batch size."""
        return _former(self).get("auto_scale_batch_size")

    @auto_scale_batch_size.setter
    def auto_scale_batch_size(self: Any, value: Any) -> None:
        _former(self)["auto_scale_batch_size"] = value

    @property
    def weights_summary(self: Any) -> str | None:
        """``"full"``, ``"top"`` or None, by the summary among the callbacks."""
        found = self._of_kind("ModelSummary")
        return None if not found else "full" if found[0]._max_depth == -1 else "top"

    @weights_summary.setter
    def weights_summary(self: Any, val: str | None) -> None:
        from fulmen.callbacks.model_summary import ModelSummary

        kept = [callback for callback in self.callbacks if callback not in self._of_kind("ModelSummary")]
        self.callbacks = kept if val is None else [ModelSummary(max_depth=-1 if val == "full" else 1), *kept]

    @property
    def verbose_evaluate(self: Any) -> bool:
        """Whether results of evaluations are printed."""
        return bool(_former(self).get("verbose_evaluate", True))

    @verbose_evaluate.setter
    def verbose_evaluate(self: Any, value: bool) -> None:
        _former(self)["verbose_evaluate"] = value


class PARTS(DEVICES, FLAGS, FORMER, TOLD):
    """What the Trainer holds and does."""

    @property
    def lr_schedulers(self: Any) -> list[dict[str, Any]]:
        """The schedulers with their settings."""
        return [_as_dict(config) for config in self.lr_scheduler_configs]

    @lr_schedulers.setter
    def lr_schedulers(self: Any, new_schedulers: list[Any]) -> None:
        from fulmen.utilities.types import LRSchedulerConfig

        names = LRSchedulerConfig.__dataclass_fields__
        self.strategy.lr_scheduler_configs = [
            LRSchedulerConfig(**{name: value for name, value in one.items() if name in names})
            if isinstance(one, dict)
            else one
            for one in new_schedulers
        ]

    @view
    def lightning_optimizers(self: Any) -> dict[int, Any]:
        """The optimizers as the module's code sees them, by their index."""
        return dict(enumerate(self.strategy._lightning_optimizers))

    @property
    def optimizer_frequencies(self: Any) -> list[int]:
        """For how many batches each optimizer is used before the next; empty where all are, in each."""
        return list(getattr(self.strategy, "optimizer_frequencies", ()))

    @optimizer_frequencies.setter
    def optimizer_frequencies(self: Any, new_freqs: list[int]) -> None:
        self.strategy.optimizer_frequencies = new_freqs

    @view
    def progress_bar_dict(self: Any) -> dict[str, Any]:
        """What the progress bar shows."""
        bar, module = self.progress_bar_callback, self.lightning_module
        if bar is None or module is None:
            return dict(self.progress_bar_metrics)
        return dict(bar.get_metrics(self, module))

    @view
    def prediction_writer_callbacks(self: Any) -> list[Any]:
        """The callbacks that write predictions."""
        return list(self._of_kind("BasePredictionWriter"))

    @view
    def train_loop(self: Any) -> Any:
        """The loop of `fit`."""
        return self.fit_loop

    @view
    def evaluation_loop(self: Any) -> Any:
        """The loop of `validate`."""
        return self.validate_loop

    @view
    def disable_validation(self: Any) -> bool:
        """Whether there is nothing to validate on or with."""
        return not self.enable_validation

    @view
    def running_sanity_check(self: Any) -> bool:
        """Whether it tries a few validation batches ahead of training."""
        return bool(self.sanity_checking)

    def get_model(self: Any) -> Any:
        """The module."""
        return self.lightning_module


def _as_dict(config: LRSchedulerConfig) -> dict[str, Any]:
    shown = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return {**shown, "opt_idx": shown.get("opt_idx")}
