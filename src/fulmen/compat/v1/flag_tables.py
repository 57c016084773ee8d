"""The Trainer's arguments of 1.x as facts: their order, their defaults, what stands for them today."""

from __future__ import annotations

from typing import Any

from fulmen.compat.migrate.table import TRAINER_FLAGS

# Order and defaults of 1.9.5, whose arguments after `profiler` are those of 1.5.10 without the ones that went.
_1_9: dict[str, Any] = {
    "logger": True, "enable_checkpointing": True, "callbacks": None, "default_root_dir": None,
    "gradient_clip_val": None, "gradient_clip_algorithm": None, "num_nodes": 1, "num_processes": None, "devices": None,
    "gpus": None, "auto_select_gpus": None, "tpu_cores": None, "ipus": None, "enable_progress_bar": True,
    "overfit_batches": 0.0, "track_grad_norm": -1, "check_val_every_n_epoch": 1, "fast_dev_run": False,
    "accumulate_grad_batches": None, "max_epochs": None, "min_epochs": None, "max_steps": -1, "min_steps": None,
    "max_time": None, "limit_train_batches": None, "limit_val_batches": None, "limit_test_batches": None,
    "limit_predict_batches": None, "val_check_interval": None, "log_every_n_steps": 50, "accelerator": None,
    "strategy": None, "sync_batchnorm": False, "precision": 32, "enable_model_summary": True,
    "num_sanity_val_steps": 2, "resume_from_checkpoint": None, "profiler": None, "benchmark": None,
    "deterministic": None, "reload_dataloaders_every_n_epochs": 0, "auto_lr_find": False, "replace_sampler_ddp": True,
    "detect_anomaly": False, "auto_scale_batch_size": False, "plugins": None, "amp_backend": None, "amp_level": None,
    "move_metrics_to_cpu": False, "multiple_trainloader_mode": "max_size_cycle", "inference_mode": True,
}  # fmt: skip
_1_5: dict[str, Any] = {
    "logger": True, "checkpoint_callback": None, "enable_checkpointing": True, "callbacks": None,
    "default_root_dir": None, "gradient_clip_val": None, "gradient_clip_algorithm": None, "process_position": 0,
    "num_nodes": 1, "num_processes": 1, "devices": None, "gpus": None, "auto_select_gpus": False, "tpu_cores": None,
    "ipus": None, "log_gpu_memory": None, "progress_bar_refresh_rate": None, "enable_progress_bar": True,
    "overfit_batches": 0.0, "track_grad_norm": -1, "check_val_every_n_epoch": 1, "fast_dev_run": False,
    "accumulate_grad_batches": None, "max_epochs": None, "min_epochs": None, "max_steps": -1, "min_steps": None,
    "max_time": None, "limit_train_batches": 1.0, "limit_val_batches": 1.0, "limit_test_batches": 1.0,
    "limit_predict_batches": 1.0, "val_check_interval": 1.0, "flush_logs_every_n_steps": None,
    "log_every_n_steps": 50, "accelerator": None, "strategy": None, "sync_batchnorm": False, "precision": 32,
    "enable_model_summary": True, "weights_summary": "top", "weights_save_path": None, "num_sanity_val_steps": 2,
    "resume_from_checkpoint": None, "profiler": None, "benchmark": False, "deterministic": False,
    "reload_dataloaders_every_n_epochs": 0, "reload_dataloaders_every_epoch": False, "auto_lr_find": False,
    "replace_sampler_ddp": True, "detect_anomaly": False, "auto_scale_batch_size": False, "prepare_data_per_node": None,
    "plugins": None, "amp_backend": "native", "amp_level": None, "move_metrics_to_cpu": False,
    "multiple_trainloader_mode": "max_size_cycle", "stochastic_weight_avg": False, "terminate_on_nan": None,
}  # fmt: skip
DEFAULTS = {"1.9": _1_9, "1.5": _1_5}
"""By version the Trainer's arguments in their order, with their defaults."""

QUIET: dict[str, tuple[Any, ...]] = {
    "auto_lr_find": (False,), "auto_scale_batch_size": (False,), "auto_select_gpus": (False,),
    "early_stop_callback": (False,), "log_gpu_memory": (False,), "move_metrics_to_cpu": (False,),
    "multiple_trainloader_mode": ("max_size_cycle",), "num_processes": (1,), "process_position": (0,),
    "reload_dataloaders_every_epoch": (False,), "replace_sampler_ddp": (True,), "stochastic_weight_avg": (False,),
    "terminate_on_nan": (False,), "track_grad_norm": (-1,), "weights_summary": ("top",),
    "automatic_optimization": (True,), "show_progress_bar": (True,),
}  # fmt: skip
"""Values that ask for nothing, beside None, which does so except as `LOUD_NONE`."""
LOUD_NONE = frozenset({"gpus", "weights_summary"})

RENAMED = {
    "max_nb_epochs": "max_epochs", "min_nb_epochs": "min_epochs", "row_log_interval": "log_every_n_steps",
    "log_save_interval": "flush_logs_every_n_steps", "distributed_backend": "accelerator",
    "replace_sampler_ddp": "use_distributed_sampler", "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches", "test_percent_check": "limit_test_batches",
    "overfit_pct": "overfit_batches", "nb_sanity_val_steps": "num_sanity_val_steps",
    "default_save_path": "default_root_dir", "nb_gpu_nodes": "num_nodes", "gradient_clip": "gradient_clip_val",
    "show_progress_bar": "enable_progress_bar",
}  # fmt: skip
"""Arguments that have another name and the same meaning."""

_GONE = (
    "amp_backend",
    "auto_lr_find",
    "auto_scale_batch_size",
    "auto_select_gpus",
    "checkpoint_callback",
    "early_stop_callback",
    "flush_logs_every_n_steps",
    "gpus",
    "log_gpu_memory",
    "move_metrics_to_cpu",
    "multiple_trainloader_mode",
    "num_processes",
    "prepare_data_per_node",
    "process_position",
    "progress_bar_refresh_rate",
    "reload_dataloaders_every_epoch",
    "resume_from_checkpoint",
    "stochastic_weight_avg",
    "terminate_on_nan",
    "track_grad_norm",
    "truncated_bptt_steps",
    "weights_save_path",
    "weights_summary",
)
TODAY = {name: TRAINER_FLAGS[name] for name in _GONE}
"""What to write in place of an argument that is gone."""
EARLIER = {
    "automatic_optimization": "`self.automatic_optimization = False` in the module's `__init__`.",
    "enable_pl_optimizer": "leave it out; `self.optimizers(use_pl_optimizer=False)` gives PyTorch's own.",
}
"""The same for arguments that went before 1.5."""
