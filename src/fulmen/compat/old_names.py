"""Where the names of Lightning 1.0 to 1.9 are, at the paths that they had; in the form of ``names.py``.

What stands at ``compat.v1`` belongs to the 1.x dialect. What stands at ``compat.gone`` is there no more: it can be
imported, as code of that time does, and says at its use what is written today.
"""

from __future__ import annotations

_RANK_ZERO = "rank_zero_debug rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn"
_PRECISIONS = {
    "precision.precision": "PrecisionPlugin=Precision",
    "precision.amp": "MixedPrecisionPlugin=MixedPrecision NativeMixedPrecisionPlugin=MixedPrecision",
    "precision.double": "DoublePrecisionPlugin=DoublePrecision",
    "precision.half": "HalfPrecisionPlugin=HalfPrecision",
    "compat.absent": "BitsandbytesPrecisionPlugin=BitsandbytesPrecision DeepSpeedPrecisionPlugin=DeepSpeedPrecision "
    "FSDPMixedPrecisionPlugin=FSDPPrecision FSDPPrecisionPlugin=FSDPPrecision XLAPrecisionPlugin=XLAPrecision "
    "FullyShardedNativeMixedPrecisionPlugin=FSDPPrecision FullyShardedNativeNativeMixedPrecisionPlugin=FSDPPrecision "
    "TransformerEnginePrecisionPlugin=TransformerEnginePrecision TPUPrecisionPlugin=XLAPrecision "
    "TPUBf16PrecisionPlugin=XLAPrecision XLABf16PrecisionPlugin=XLAPrecision TPUPrecision=XLAPrecision "
    "TPUBf16Precision=XLAPrecision XLABf16Precision=XLAPrecision",
    "compat.gone": "ApexMixedPrecisionPlugin ColossalAIPrecisionPlugin HPUPrecisionPlugin IPUPrecisionPlugin "
    "ShardedNativeMixedPrecisionPlugin",
}
_TRAINING_TYPES = {
    "strategies.strategy": "TrainingTypePlugin=Strategy",
    "strategies.single_device": "SingleDevicePlugin=SingleDeviceStrategy",
    "strategies.parallel": "ParallelPlugin=ParallelStrategy",
    "compat.v1.strategies": "DDPPlugin DDPSpawnPlugin",
    "compat.absent": "DataParallelPlugin=DataParallelStrategy DDPFullyShardedPlugin=FSDPStrategy "
    "DeepSpeedPlugin=DeepSpeedStrategy SingleTPUPlugin=SingleDeviceXLAStrategy TPUSpawnPlugin=XLAStrategy",
    "compat.gone": "DDP2Plugin DDPShardedPlugin DDPSpawnShardedPlugin HorovodPlugin IPUPlugin RPCPlugin",
}
_STRATEGIES = {
    "compat.v1.strategies": "DDPSpawnStrategy",
    "compat.absent": "DDPFullyShardedNativeStrategy=FSDPStrategy DDPFullyShardedStrategy=FSDPStrategy "
    "SingleTPUStrategy=SingleDeviceXLAStrategy TPUSpawnStrategy=XLAStrategy",
    "compat.gone": "BaguaStrategy ColossalAIStrategy DDP2Strategy DDPShardedStrategy DDPSpawnShardedStrategy "
    "HPUParallelStrategy HivemindStrategy HorovodStrategy IPUStrategy SingleHPUStrategy",
}
_DISTRIBUTED = "distributed_available=_distributed_is_initialized gather_all_tensors unwrap_lightning_module"
_PRECISION_MODULES = (
    "amp apex_amp bitsandbytes colossalai deepspeed double fsdp fsdp_native_native_amp "
    "fully_sharded_native_amp half hpu ipu mixed native_amp precision precision_plugin sharded_native_amp tpu "
    "tpu_bf16 transformer_engine xla xlabf16"
)
_TRAINING_TYPE_MODULES = (
    "ddp ddp2 ddp_spawn deepspeed dp fully_sharded horovod ipu parallel rpc rpc_sequential sharded "
    "sharded_spawn single_device single_tpu tpu_spawn training_type_plugin"
)
_STRATEGY_MODULES = (
    "bagua colossalai ddp2 ddp_spawn fully_sharded fully_sharded_native hivemind horovod hpu_parallel ipu "
    "sharded sharded_spawn single_hpu single_tpu tpu_spawn"
)

# What to do where the 1.x dialect does not have a module.
REMEDIES = {
    "compat.v1.argparse": "Add the arguments to your parser and write `Trainer(**vars(args))`, or use `LightningCLI`.",
    "compat.v1.callbacks": "`DeviceStatsMonitor` watches devices of every kind; `torch.ao.quantization` quantizes.",
    "compat.v1.cli": "`LightningCLI` takes classes by their paths; none has to be registered.",
    "compat.v1.decorators": "Move the data: `batch = self.transfer_batch_to_device(batch, self.device, 0)`.",
    "compat.v1.lite": "Write a `LightningModule` and use a `Trainer`.",
    "compat.v1.loggers": "Derive from `Logger`; for several loggers write `Trainer(logger=[...])`.",
    "compat.v1.metrics": 'Use `torchmetrics`: `torchmetrics.Accuracy(task="multiclass", num_classes=10)`.',
    "compat.v1.results": "Log with `self.log`, and return the loss.",
}

OLD: dict[str, dict[str, str]] = {
    "": {"compat.v1.results": "EvalResult TrainResult"},
    "accelerators": {
        "accelerators.cuda": "GPUAccelerator=CUDAAccelerator",
        "compat.absent": "TPUAccelerator=XLAAccelerator",
        "compat.gone": "HPUAccelerator IPUAccelerator",
    },
    "accelerators.gpu": {"accelerators.cuda": "CUDAAccelerator GPUAccelerator=CUDAAccelerator get_nvidia_gpu_stats"},
    "accelerators.hpu": {"compat.gone": "HPUAccelerator"},
    "accelerators.ipu": {"compat.gone": "IPUAccelerator"},
    "accelerators.tpu": {"compat.absent": "TPUAccelerator=XLAAccelerator"},
    "callbacks": {
        "callbacks.lr_monitor": "LearningRateLogger=LearningRateMonitor",
        "callbacks.progress.progress_bar": "ProgressBarBase=ProgressBar",
        "compat.v1.callbacks": "GPUStatsMonitor QuantizationAwareTraining XLAStatsMonitor",
    },
    "callbacks.gpu_stats_monitor": {"compat.v1.callbacks": "GPUStatsMonitor"},
    "callbacks.lr_logger": {"callbacks.lr_monitor": "LearningRateLogger=LearningRateMonitor LearningRateMonitor"},
    "callbacks.progress": {"callbacks.progress.progress_bar": "ProgressBarBase=ProgressBar"},
    "callbacks.progress.base": {"callbacks.progress.progress_bar": "ProgressBar ProgressBarBase=ProgressBar"},
    "callbacks.progress.progress": {"callbacks.progress.progress_bar": "ProgressBar ProgressBarBase=ProgressBar"},
    "callbacks.quantization": {"compat.v1.callbacks": "QuantizationAwareTraining"},
    "callbacks.xla_stats_monitor": {"compat.v1.callbacks": "XLAStatsMonitor"},
    "core.decorators": {"compat.gone": "parameter_validation", "compat.v1.decorators": "auto_move_data"},
    "core.grads": {"compat.gone": "GradInformation"},
    "core.memory": {
        "utilities.model_summary.model_summary": "LayerSummary ModelSummary parse_batch_shape summarize",
        "utilities.model_summary.table": "get_formatted_model_size get_human_readable_count",
        "compat.gone": "get_gpu_memory_map get_memory_profile",
    },
    "core.mixins": {"core.device_dtype": "DeviceDtypeModuleMixin=DeviceDtypeMixin"},
    "core.mixins.device_dtype_mixin": {"core.device_dtype": "DeviceDtypeModuleMixin=DeviceDtypeMixin"},
    "core.saving": {"compat.gone": "ModelIO"},
    "core.step_result": {"compat.v1.results": "EvalResult Result TrainResult"},
    "lite": {"compat.v1.lite": "LightningLite"},
    "lite.lite": {"compat.v1.lite": "LightningLite"},
    "lite.wrappers": {"*": "compat.v1.lite"},
    "loggers": {
        "compat.v1.loggers": "LightningLoggerBase LoggerCollection",
        "compat.gone": "TestTubeLogger",
        "loggers.neptune": "NeptuneLogger",
    },
    "loggers.base": {"compat.v1.loggers": "LightningLoggerBase LoggerCollection"}
    | {"loggers.logger": "DummyExperiment=_DummyExperiment rank_zero_experiment"},
    "loggers.logger": {"compat.v1.loggers": "LightningLoggerBase LoggerCollection"},
    "loggers.test_tube": {"compat.gone": "TestTubeLogger"},
    "loops": {
        "loops.fit": "FitLoop",
        "loops.epoch": "TrainingEpochLoop=EpochLoop",
        "loops.evaluate": "EvaluationLoop",
        "loops.predict": "PredictionLoop",
        "compat.gone": "EvaluationEpochLoop Loop ManualOptimization OptimizerLoop PredictionEpochLoop "
        "TrainingBatchLoop",
    },
    "loops.base": {"compat.gone": "Loop"},
    "loops.evaluation_loop": {"loops.evaluate": "EvaluationLoop"},
    "loops.fit_loop": {"loops.fit": "FitLoop"},
    "loops.prediction_loop": {"loops.predict": "PredictionLoop"},
    "loops.training_epoch_loop": {"loops.epoch": "TrainingEpochLoop=EpochLoop"},
    "loops.batch": {"compat.gone": "TrainingBatchLoop"},
    "loops.batch.training_batch_loop": {"compat.gone": "TrainingBatchLoop"},
    "loops.dataloader": {"loops.evaluate": "EvaluationLoop", "loops.predict": "PredictionLoop"},
    "loops.dataloader.evaluation_loop": {"loops.evaluate": "EvaluationLoop"},
    "loops.dataloader.prediction_loop": {"loops.predict": "PredictionLoop"},
    "loops.epoch": {"loops.epoch": "TrainingEpochLoop=EpochLoop"}
    | {"compat.gone": "EvaluationEpochLoop PredictionEpochLoop"},
    "loops.epoch.evaluation_epoch_loop": {"compat.gone": "EvaluationEpochLoop"},
    "loops.epoch.prediction_epoch_loop": {"compat.gone": "PredictionEpochLoop"},
    "loops.epoch.training_epoch_loop": {"loops.epoch": "TrainingEpochLoop=EpochLoop"},
    "loops.optimization": {"compat.gone": "ManualOptimization OptimizerLoop"},
    "loops.optimization.manual_loop": {"compat.gone": "ManualOptimization"},
    "loops.optimization.optimizer_loop": {"compat.gone": "OptimizerLoop"},
    "metrics": {"*": "compat.v1.metrics"},
    "metrics.classification": {"*": "compat.v1.metrics"},
    "metrics.functional": {"*": "compat.v1.metrics"},
    "metrics.functional.classification": {"*": "compat.v1.metrics"},
    "metrics.metric": {"*": "compat.v1.metrics"},
    "metrics.regression": {"*": "compat.v1.metrics"},
    "metrics.utils": {"*": "compat.v1.metrics"},
    "overrides.base": {"compat.odds": "unwrap_lightning_module", "compat.gone": "_LightningModuleWrapperBase"},
    "overrides.data_parallel": {"compat.gone": "LightningDataParallel LightningParallelModule"},
    "overrides.distributed": {"compat.gone": "LightningDistributedModule"},
    "overrides.fairscale": {"compat.gone": "LightningShardedDataParallel"},
    "plugins": {
        "strategies.layer_sync": "NativeSyncBatchNorm=TorchSyncBatchNorm",
        **_PRECISIONS,
        **_TRAINING_TYPES,
        "compat.absent": f"{_PRECISIONS['compat.absent']} {_TRAINING_TYPES['compat.absent']}",
        "compat.gone": f"{_PRECISIONS['compat.gone']} {_TRAINING_TYPES['compat.gone']} HPUCheckpointIO",
    },
    "plugins.base_plugin": {"strategies.strategy": "Plugin=Strategy"},
    "plugins.io": {"compat.gone": "HPUCheckpointIO"},
    "plugins.io.hpu_plugin": {"compat.gone": "HPUCheckpointIO"},
    "plugins.layer_sync": {"strategies.layer_sync": "NativeSyncBatchNorm=TorchSyncBatchNorm"},
    "plugins.precision": _PRECISIONS,
    **{f"plugins.precision.{module}": _PRECISIONS for module in _PRECISION_MODULES.split()},
    "plugins.training_type": _TRAINING_TYPES,
    **{f"plugins.training_type.{module}": _TRAINING_TYPES for module in _TRAINING_TYPE_MODULES.split()},
    "profiler": {
        "profilers.profiler": "AbstractProfiler=Profiler BaseProfiler=Profiler",
        "compat.absent": "XLAProfiler",
    },
    "profiler.base": {
        "profilers.profiler": "AbstractProfiler=Profiler BaseProfiler=Profiler Profiler",
        "profilers.passthrough": "PassThroughProfiler",
    },
    "profiler.xla": {"compat.absent": "XLAProfiler"},
    "profilers.profiler": {"profilers.profiler": "AbstractProfiler=Profiler BaseProfiler=Profiler"},
    "strategies": _STRATEGIES,
    **{f"strategies.{module}": _STRATEGIES for module in _STRATEGY_MODULES.split()},
    "strategies.launchers.base": {"strategies.launchers.launcher": "_Launcher"},
    "strategies.launchers.spawn": {"strategies.launchers.multiprocessing": "_SpawnLauncher=_MultiProcessingLauncher"},
    "strategies.strategy_registry": {"strategies.registry": "StrategyRegistry"},
    "trainer.connectors.accelerator_connector": {"compat.absent": "AcceleratorConnector=_AcceleratorConnector"},
    "trainer.connectors.callback_connector": {"compat.absent": "CallbackConnector=_CallbackConnector"},
    "trainer.connectors.checkpoint_connector": {"compat.absent": "CheckpointConnector=_CheckpointConnector"},
    "trainer.connectors.data_connector": {"compat.absent": "DataConnector=_DataConnector"},
    "trainer.connectors.logger_connector": {"compat.absent": "LoggerConnector=_LoggerConnector"},
    "trainer.connectors.logger_connector.logger_connector": {"compat.absent": "LoggerConnector=_LoggerConnector"},
    "trainer.connectors.logger_connector.fx_validator": {"compat.absent": "FxValidator=_FxValidator"},
    "trainer.connectors.logger_connector.result": {"loops.results": "ResultCollection=Results"},
    "trainer.connectors.signal_connector": {"compat.absent": "SignalConnector=_SignalConnector"},
    "trainer.data_loading": {"compat.gone": "TrainerDataLoadingMixin"},
    "trainer.supporters": {
        "utilities.combined_loader": "CombinedLoader",
        "compat.gone": "CombinedDataset CombinedLoaderIterator CycleIterator PredictionCollection TensorRunningAccum",
    },
    "trainer.training_loop": {"loops.fit": "TrainLoop=FitLoop"},
    "trainer.evaluation_loop": {"loops.evaluate": "EvaluationLoop"},
    "tuner.auto_gpu_select": {"compat.odds": "pick_multiple_gpus pick_single_gpu"},
    "utilities": {
        "*": "compat.flags",
        "compat.odds": "AMPType DeviceType DistributedType ModelSummaryMode flatten_dict=_flatten_dict",
        "compat.gone": "AllGatherGrad",
    },
    "utilities.apply_func": {"compat.odds": "TransferableDataType"},
    "utilities.argparse": {
        "compat.v1.argparse": "add_argparse_args from_argparse_args parse_argparser "
        "get_init_arguments_and_types=arguments_and_types parse_env_variables=match_env_arguments"
    },
    "utilities.cli": {
        "compat.v1.cli": "CALLBACK_REGISTRY DATAMODULE_REGISTRY LOGGER_REGISTRY LR_SCHEDULER_REGISTRY MODEL_REGISTRY "
        "OPTIMIZER_REGISTRY"
    },
    "utilities.cloud_io": {"utilities.cloud_io": "load=_load", "compat.odds": "atomic_save"},
    "utilities.device_dtype_mixin": {"core.device_dtype": "DeviceDtypeModuleMixin=DeviceDtypeMixin"},
    "utilities.device_parser": {
        "accelerators.cuda": "is_cuda_available num_cuda_devices",
        "compat.odds": "determine_root_gpu_device=_determine_root_gpu_device parse_gpu_ids=_parse_gpu_ids",
    },
    "utilities.distributed": {
        "utilities.rank_zero": _RANK_ZERO,
        "compat.gone": "AllGatherGrad all_gather_ddp_if_available sync_ddp sync_ddp_if_available",
        "compat.odds": f"{_DISTRIBUTED} WarningCache",
    },
    "utilities.enums": {
        "compat.odds": "AMPType AutoRestartBatchKeys DeviceType DistributedType ModelSummaryMode PrecisionType"
    },
    "utilities.exceptions": {
        "utilities.exceptions": "ExitGracefullyException=SIGTERMException",
        "compat.odds": "DeadlockDetectedException",
    },
    "utilities.fetching": {"compat.gone": "AbstractDataFetcher DataFetcher"},
    "utilities.finite_checks": {"compat.odds": "detect_nan_parameters print_nan_gradients"},
    "utilities.logger": {"compat.odds": "add_prefix=_add_prefix flatten_dict=_flatten_dict"},
    "utilities.memory": {"compat.odds": "get_model_size_mb", "compat.gone": "get_gpu_memory_map get_memory_profile"},
    "utilities.metrics": {"compat.odds": "metrics_to_scalars=convert_tensors_to_scalars"},
    "utilities.optimizer": {
        "strategies.optimizer_state": "optimizer_to_device=move_optimizer",
        "compat.odds": "optimizers_to_device=_optimizers_to_device",
    },
    "utilities.parsing": {"compat.odds": "flatten_dict=_flatten_dict"},
    "utilities.rank_zero": {"utilities.rank_zero": "LightningDeprecationWarning"},
    "utilities.seed": {"utilities.seed": "seed_everything reset_seed pl_worker_init_function"},
    "utilities.types": {"compat.odds": "EPOCH_OUTPUT"},
    "utilities.warnings": {
        "utilities.rank_zero": "rank_zero_deprecation rank_zero_warn",
        "compat.odds": "WarningCache",
    },
    "utilities.xla_device": {"compat.gone": "XLADeviceUtils"},
}
