"""What of Lightning 1.x is gone or has another name today: for each old name, what to write. Plain data."""

from __future__ import annotations

from fulmen.compat.migrate.names import GONE as GONE
from fulmen.compat.migrate.names import MOVED as MOVED
from fulmen.compat.migrate.names import TASK as TASK
from fulmen.compat.migrate.names import TASK_METRICS as TASK_METRICS

TRAINER_FLAGS = {
    "accelerator": 'accelerator="ddp" and the like are strategies: `Trainer(accelerator="gpu", strategy="ddp")`',
    "accumulate_grad_batches": "`callbacks=[GradientAccumulationScheduler(scheduling={epoch: n})]` in place of a dict",
    "amp_backend": 'leave it out: `precision="16-mixed"` is PyTorch\'s own',
    "amp_level": 'leave it out: `precision="16-mixed"`; the levels of apex are gone',
    "auto_lr_find": "`Tuner(trainer).lr_find(model)` before `trainer.fit(model)`, or the callback `LearningRateFinder`",
    "auto_scale_batch_size": "`Tuner(trainer).scale_batch_size(model)` before `trainer.fit(model)`, or the callback "
    "`BatchSizeFinder`",
    "auto_select_gpus": "`devices=find_usable_cuda_devices(2)` from `fulmen.accelerators`",
    "automatic_optimization": "`self.automatic_optimization = False` in the module's `__init__`",
    "checkpoint_callback": "`enable_checkpointing=True` or `False`; a `ModelCheckpoint` goes among `callbacks`",
    "distributed_backend": '`strategy="ddp"`',
    "early_stop_callback": '`callbacks=[EarlyStopping("val_loss")]`',
    "flush_logs_every_n_steps": "give it to the logger: `CSVLogger(..., flush_logs_every_n_steps=100)`",
    "gpus": '`accelerator="gpu", devices=2`; `accelerator="auto"` takes what the machine has, and '
    '`accelerator="cpu"` stands for `gpus=None` and `gpus=0`',
    "ipus": "nothing: IPUs are not supported any more",
    "log_gpu_memory": "`callbacks=[DeviceStatsMonitor()]`",
    "log_save_interval": "leave it out",
    "max_nb_epochs": "`max_epochs=`",
    "max_steps": "`max_steps=-1` in place of None",
    "min_nb_epochs": "`min_epochs=`",
    "move_metrics_to_cpu": "leave it out: each logged value is one number",
    "multiple_trainloader_mode": '`trainer.fit(model, CombinedLoader(loaders, mode="min_size"))`',
    "nb_sanity_val_steps": "`num_sanity_val_steps=`",
    "num_processes": '`accelerator="cpu", devices=2`',
    "overfit_pct": "`overfit_batches=`",
    "precision": '`precision="16-mixed"`, `"bf16-mixed"`, `"32-true"` or `"64-true"`',
    "prepare_data_per_node": "`self.prepare_data_per_node = True` in the `__init__` of the module or data module",
    "process_position": "`callbacks=[TQDMProgressBar(process_position=1)]`",
    "profiler": '`profiler="simple"` in place of True',
    "progress_bar_refresh_rate": "`callbacks=[TQDMProgressBar(refresh_rate=20)]`, or `enable_progress_bar=False` for 0",
    "reload_dataloaders_every_epoch": "`reload_dataloaders_every_n_epochs=1`",
    "replace_sampler_ddp": "`use_distributed_sampler=`",
    "resume_from_checkpoint": "`trainer.fit(model, ckpt_path=...)`",
    "row_log_interval": "`log_every_n_steps=`",
    "stochastic_weight_avg": "`callbacks=[StochasticWeightAveraging(swa_lrs=0.01)]`",
    "strategy": 'one that exists: `strategy="ddp"`, `"fsdp"`, `"deepspeed"`',
    "terminate_on_nan": "raise in `on_before_backward(self, loss)` where `loss` is not finite; `detect_anomaly=True` "
    "finds the operation that made it so",
    "test_percent_check": "`limit_test_batches=`",
    "tpu_cores": '`accelerator="tpu", devices=n`',
    "track_grad_norm": "`self.log_dict(grad_norm(self, norm_type=2))` in `on_before_optimizer_step`",
    "train_percent_check": "`limit_train_batches=`",
    "truncated_bptt_steps": "manual optimization, with a step for each split of the sequence",
    "val_percent_check": "`limit_val_batches=`",
    "weights_save_path": "`callbacks=[ModelCheckpoint(dirpath=...)]`",
    "weights_summary": '`enable_model_summary=False` for None, `callbacks=[ModelSummary(max_depth=-1)]` for "full"',
}
# Flags that have another name and take the same values.
RENAMED_FLAGS = {
    "max_nb_epochs": "max_epochs",
    "min_nb_epochs": "min_epochs",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "replace_sampler_ddp": "use_distributed_sampler",
    "row_log_interval": "log_every_n_steps",
    "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches",
    "test_percent_check": "limit_test_batches",
}
# Values with which a flag changes nothing, so that it can be left out.
IDLE_FLAGS: dict[str, tuple[object, ...]] = {
    "amp_backend": ("native", None),
    "amp_level": (None,),
    "auto_lr_find": (False, None),
    "auto_scale_batch_size": (False, None),
    "auto_select_gpus": (False, None),
    "automatic_optimization": (True, None),
    "checkpoint_callback": (None,),
    "distributed_backend": (None,),
    "early_stop_callback": (False, None),
    "flush_logs_every_n_steps": (None,),
    "ipus": (None,),
    "log_gpu_memory": (None, False),
    "max_steps": (None,),
    "move_metrics_to_cpu": (False,),
    "multiple_trainloader_mode": ("max_size_cycle",),
    "num_processes": (None, 1),
    "prepare_data_per_node": (None, True),
    "process_position": (0, None),
    "profiler": (False,),
    "progress_bar_refresh_rate": (None,),
    "reload_dataloaders_every_epoch": (False,),
    "resume_from_checkpoint": (None,),
    "stochastic_weight_avg": (False,),
    "terminate_on_nan": (False, None),
    "tpu_cores": (None,),
    "track_grad_norm": (-1, None),
    "truncated_bptt_steps": (None, 0),
    "weights_save_path": (None,),
    "weights_summary": ("top",),
}
STRATEGIES = ("ddp", "ddp_spawn", "ddp_find_unused_parameters_false", "deepspeed", "fsdp")
STRATEGIES_GONE = {
    "dp": '`strategy="ddp"`: DataParallel is gone',
    "ddp2": '`strategy="ddp"`',
    "ddp_cpu": '`accelerator="cpu", strategy="ddp_spawn"`',
    "ddp_sharded": '`strategy="fsdp"`: FairScale is gone',
    "ddp_sharded_spawn": '`strategy="fsdp"`: FairScale is gone',
    "ddp_fully_sharded": '`strategy="fsdp"`: FairScale is gone',
    "fsdp_native": '`strategy="fsdp"`',
    "horovod": '`strategy="ddp"`: Horovod is gone',
    "bagua": '`strategy="ddp"`: Bagua is gone',
    "colossalai": '`strategy="fsdp"`: ColossalAI is gone',
    "hivemind": '`strategy="ddp"`: Hivemind is gone',
}
PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed"}

TRAINER_METHODS = {
    "tune": "`Tuner(trainer).lr_find(model)` or `Tuner(trainer).scale_batch_size(model)`",
    "add_argparse_args": "`LightningCLI`, or add the flags that you use to the parser yourself",
    "from_argparse_args": "`Trainer(**flags)` with the flags that you use, or `LightningCLI`",
    "parse_argparser": "`LightningCLI`",
    "match_env_arguments": "`LightningCLI`, which reads the environment, too",
    "get_deprecated_arg_names": "nothing",
    "default_attributes": "`inspect.signature(Trainer.__init__)`",
    "determine_data_use_amount": "`overfit_batches=` of the Trainer",
    "run_stage": "`trainer.fit`, `validate`, `test` or `predict`",
    "call_hook": "call the method of the module or callback",
    "reset_train_dataloader": "nothing: loaders are made when a run starts, or `reload_dataloaders_every_n_epochs=`",
    "reset_val_dataloader": "nothing: loaders are made when a run starts",
    "reset_test_dataloader": "nothing: loaders are made when a run starts",
    "reset_predict_dataloader": "nothing: loaders are made when a run starts",
}
TRAINER_ARGUMENTS = {
    ("fit", "train_dataloader"): "train_dataloaders",
    ("validate", "val_dataloaders"): "dataloaders",
    ("test", "test_dataloaders"): "dataloaders",
    ("predict", "predict_dataloaders"): "dataloaders",
}
TRAINER_ATTRIBUTES = {
    "amp_backend": "`trainer.precision`",
    "data_parallel": "`trainer.world_size > 1`",
    "data_parallel_device_ids": "`trainer.device_ids`",
    "devices": "`trainer.num_devices`, `trainer.device_ids`",
    "disable_validation": "`not trainer.enable_validation`",
    "gpus": "`trainer.num_devices`",
    "ipus": "nothing: IPUs are not supported any more",
    "lightning_optimizers": "`module.optimizers()`",
    "lr_schedulers": "`trainer.lr_scheduler_configs`, whose entries have attributes in place of keys",
    "num_gpus": "`trainer.num_devices`",
    "num_processes": "`trainer.world_size`",
    "optimizer_frequencies": "manual optimization",
    "prediction_writer_callbacks": "those of `trainer.callbacks` that are a `BasePredictionWriter`",
    "progress_bar_dict": "`trainer.progress_bar_metrics`",
    "resume_from_checkpoint": "`trainer.ckpt_path`",
    "root_gpu": "`trainer.strategy.root_device`",
    "running_sanity_check": "`trainer.sanity_checking`",
    "should_rank_save_checkpoint": "`trainer.is_global_zero`",
    "slurm_job_id": "`SLURMEnvironment.job_id()`",
    "terminate_on_nan": "`detect_anomaly=True` of the Trainer",
    "tpu_cores": "`trainer.num_devices`",
    "train_loop": "`trainer.fit_loop`",
    "training_type_plugin": "`trainer.strategy`",
    "tuning": "nothing: a `Tuner` is not part of the Trainer",
    "use_amp": '`trainer.precision == "16-mixed"`',
    "weights_save_path": "`trainer.default_root_dir`",
    "weights_summary": "`enable_model_summary=` of the Trainer",
}
RENAMED_TRAINER_ATTRIBUTES = {
    "data_parallel_device_ids": "device_ids",
    "progress_bar_dict": "progress_bar_metrics",
    "running_sanity_check": "sanity_checking",
    "should_rank_save_checkpoint": "is_global_zero",
    "train_loop": "fit_loop",
    "training_type_plugin": "strategy",
}

_LIST = "collect the outputs in a list in `{step}`, and read and clear it in `{hook}(self)`"
_BOTH = "`on_train_epoch_{end}`, `on_validation_epoch_{end}` and `on_test_epoch_{end}`"
MODULE_METHODS = {
    "training_epoch_end": _LIST.format(step="training_step", hook="on_train_epoch_end"),
    "validation_epoch_end": _LIST.format(step="validation_step", hook="on_validation_epoch_end"),
    "test_epoch_end": _LIST.format(step="test_step", hook="on_test_epoch_end"),
    "training_step_end": "do it at the end of `training_step`",
    "validation_step_end": "do it at the end of `validation_step`",
    "test_step_end": "do it at the end of `test_step`",
    "on_epoch_start": _BOTH.format(end="start"),
    "on_epoch_end": _BOTH.format(end="end"),
    "on_batch_start": "`on_train_batch_start(self, batch, batch_idx)`",
    "on_batch_end": "`on_train_batch_end(self, outputs, batch, batch_idx)`",
    "on_pretrain_routine_start": "`on_fit_start(self)`",
    "on_pretrain_routine_end": "`on_fit_start(self)`",
    "on_post_move_to_device": "tie parameters in `__init__`",
    "on_train_dataloader": "do it in `train_dataloader` or `setup`",
    "on_val_dataloader": "do it in `val_dataloader` or `setup`",
    "on_test_dataloader": "do it in `test_dataloader` or `setup`",
    "on_predict_dataloader": "do it in `predict_dataloader` or `setup`",
    "on_hpc_save": "`on_save_checkpoint(self, checkpoint)`",
    "on_hpc_load": "`on_load_checkpoint(self, checkpoint)`",
    "configure_sharded_model": "`configure_model(self)`",
    "get_progress_bar_dict": "`get_metrics` of a progress bar: `class Bar(TQDMProgressBar): def get_metrics(...)`",
    "log_grad_norm": "`self.log_dict(grad_norm(self, norm_type=2))` in `on_before_optimizer_step`",
    "summarize": "`ModelSummary(model, max_depth=n)` of `fulmen.utilities.model_summary`",
    "tbptt_split_batch": "split the batch in `training_step`, with `self.automatic_optimization = False`",
    "add_to_queue": "nothing: processes hand their results back themselves",
    "get_from_queue": "nothing: processes hand their results back themselves",
    "from_compiled": "`torch.compile(model)`, which can be handed to the Trainer",
    "to_uncompiled": "`to_uncompiled(model)` of `fulmen.utilities.compile`",
}
MODULE_ATTRIBUTES = {
    "loaded_optimizer_states_dict": "`on_load_checkpoint(self, checkpoint)`",
    "model_size": "`get_model_size_mb(self)` of `fulmen.utilities.memory`",
    "truncated_bptt_steps": "split the batch in `training_step`, with `self.automatic_optimization = False`",
    "on_gpu": '`self.device.type == "cuda"`',
    "use_amp": '`self.trainer.precision == "16-mixed"`',
}
LOG_ARGUMENTS = {
    "tbptt_reduce_fx": "leave it out",
    "tbptt_pad_token": "leave it out",
    "sync_dist_op": "`reduce_fx=`",
}
CALLBACK_METHODS = {
    "on_init_start": "`setup(self, trainer, pl_module, stage)`",
    "on_init_end": "`setup(self, trainer, pl_module, stage)`",
    "on_epoch_start": _BOTH.format(end="start"),
    "on_epoch_end": _BOTH.format(end="end"),
    "on_batch_start": "`on_train_batch_start(self, trainer, pl_module, batch, batch_idx)`",
    "on_batch_end": "`on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx)`",
    "on_pretrain_routine_start": "`on_fit_start(self, trainer, pl_module)`",
    "on_pretrain_routine_end": "`on_fit_start(self, trainer, pl_module)`",
    "on_keyboard_interrupt": "`on_exception(self, trainer, pl_module, exception)`",
    "on_configure_sharded_model": "`setup(self, trainer, pl_module, stage)`",
    "on_before_accelerator_backend_setup": "`setup(self, trainer, pl_module, stage)`",
}
DATAMODULE_METHODS = {
    "add_argparse_args": "`LightningCLI`, or add the arguments that you use to the parser yourself",
    "from_argparse_args": "`MyData(**arguments)` with the arguments that you use, or `LightningCLI`",
    "parse_argparser": "`LightningCLI`",
    "get_init_arguments_and_types": "`inspect.signature(MyData.__init__)`",
    "on_train_dataloader": "do it in `train_dataloader` or `setup`",
    "on_val_dataloader": "do it in `val_dataloader` or `setup`",
    "on_test_dataloader": "do it in `test_dataloader` or `setup`",
    "on_predict_dataloader": "do it in `predict_dataloader` or `setup`",
}
_OWN = "keep it as an attribute of your own, set in `__init__`"
DATAMODULE_ATTRIBUTES = {
    **dict.fromkeys(("train_transforms", "val_transforms", "test_transforms", "dims", "size"), _OWN),
    **dict.fromkeys(
        (
            "has_prepared_data", "has_setup_fit", "has_setup_validate", "has_setup_test", "has_setup_predict",
            "has_teardown_fit", "has_teardown_validate", "has_teardown_test", "has_teardown_predict",
        ),
        "an attribute of your own that `prepare_data`, `setup` or `teardown` sets",
    ),
}  # fmt: skip
LOGGER_METHODS = {
    "update_agg_funcs": "nothing: values are logged as they are",
    "agg_and_log_metrics": "`log_metrics(metrics, step)`",
    "close": "`finalize(status)`",
}
CHECKPOINT_ARGUMENTS = {
    "filepath": "`dirpath=` and `filename=`",
    "prefix": "`filename=`",
    "period": "`every_n_epochs=`",
    "every_n_val_epochs": "`every_n_epochs=`",
}
RENAMED_CHECKPOINT_ARGUMENTS = {"period": "every_n_epochs", "every_n_val_epochs": "every_n_epochs"}

# Parameters of methods that are not passed any more, by method.
_INDEX = ("optimizer_idx",)
MODULE_PARAMETERS = {
    "training_step": ("optimizer_idx", "hiddens"),
    "optimizer_step": ("optimizer_idx", "on_tpu", "using_native_amp", "using_lbfgs"),
    "optimizer_zero_grad": _INDEX,
    "lr_scheduler_step": _INDEX,
    "configure_gradient_clipping": _INDEX,
    "on_before_optimizer_step": _INDEX,
    "backward": ("optimizer", "optimizer_idx"),
    "toggle_optimizer": _INDEX,
    "untoggle_optimizer": _INDEX,
    "on_train_batch_start": ("unused", "dataloader_idx"),
    "on_train_batch_end": ("unused", "dataloader_idx"),
    "on_train_epoch_end": ("outputs", "unused"),
    "on_predict_epoch_end": ("results",),
}
CALLBACK_PARAMETERS = {
    "on_before_optimizer_step": ("opt_idx", "optimizer_idx"),
    "on_train_batch_start": ("unused", "dataloader_idx"),
    "on_train_batch_end": ("unused", "dataloader_idx"),
    "on_train_epoch_end": ("outputs", "unused"),
    "on_predict_epoch_end": ("outputs",),
    "on_load_checkpoint": ("callback_state",),
}
PARAMETERS = {
    "hiddens": "split the batch and keep hidden states yourself, with `self.automatic_optimization = False`",
    "optimizer_idx": "name the optimizers in `configure_optimizers`, return losses by name; or optimize manually",
    "callback_state": "`load_state_dict(self, state_dict)`, beside `state_dict(self)`",
    "results": "`trainer.predict_loop.predictions`",
    "outputs": "collect what the step returns in a list, or read `trainer.predict_loop.predictions`",
}
STEP_KEYS = {
    "log": "`self.log_dict({...})` in the step, in place of the key 'log'",
    "progress_bar": "`self.log(..., prog_bar=True)` in the step, in place of the key 'progress_bar'",
}
