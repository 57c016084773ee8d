"""Where Lightning 2's names are that Fulmen has at another path, or has not.

For each path below a root: modules of Fulmen, and the names that are taken from them. ``A=B`` is ``B`` under the name
``A``. A path that has a module of its own needs only what that module lacks.
"""

from __future__ import annotations

_RANK_ZERO = {
    "utilities.rank_zero": "rank_zero_debug rank_zero_deprecation rank_zero_info rank_zero_only rank_zero_warn"
}
_LAUNCHERS = {
    "strategies.launchers.launcher": "_Launcher",
    "strategies.launchers.multiprocessing": "_MultiProcessingLauncher",
    "strategies.launchers.subprocess_script": "_SubprocessScriptLauncher",
    "compat.absent": "_XLALauncher",
}

PRESENT: dict[str, dict[str, str]] = {
    "": {"utilities.warnings": "disable_possible_user_warnings", "compat.odds": "LIGHTNING_LOGO"},
    "accelerators": {
        "compat.absent": "XLAAccelerator",
        "accelerators.registry": "ACCELERATOR_REGISTRY=AcceleratorRegistry",
    },
    "accelerators.registry": {"compat.odds": "call_register_accelerators"},
    "accelerators.xla": {"compat.absent": "XLAAccelerator"},
    "cli": {"compat.absent": "main"},
    "connector": {"compat.absent": "_Connector", "accelerators.accelerator": "Accelerator"},
    "core.module": {"core.optimizer": "LightningOptimizer"},
    "core.optimizer": {"utilities.types": "LRSchedulerConfig LRSchedulerTypeTuple Optimizable"},
    "core.saving": {
        "utilities.cloud_io": "get_filesystem pl_load=_load",
        "utilities.parsing": "parse_class_init_keys",
        "compat.odds": "CHECKPOINT_PAST_HPARAMS_KEYS",
    },
    "fabric": {"compat.absent": "Fabric"},
    "loggers": {"compat.absent": "LitLogger"},
    "loggers.csv_logs": {"loggers.logger": "Logger"},
    "loggers.litlogger": {"compat.absent": "LitLogger"},
    "loggers.logger": {"loggers.logger": "DummyExperiment=_DummyExperiment"},
    "loggers.tensorboard": {"loggers.logger": "Logger"},
    "loggers.utilities": {"compat.odds": "_log_hyperparams"},
    "loops": {"compat.absent": "_Loop", "loops.fit": "_FitLoop=FitLoop", "loops.epoch": "_TrainingEpochLoop=EpochLoop"}
    | {"loops.evaluate": "_EvaluationLoop=EvaluationLoop", "loops.predict": "_PredictionLoop=PredictionLoop"},
    "loops.evaluation_loop": {"loops.evaluate": "_EvaluationLoop=EvaluationLoop", "compat.absent": "RestartStage"},
    "loops.fetchers": {"compat.absent": "_DataFetcher _DataLoaderIterDataFetcher _PrefetchDataFetcher"},
    "loops.fit_loop": {"loops.fit": "_FitLoop=FitLoop", "compat.absent": "RestartStage"},
    "loops.loop": {"compat.absent": "_Loop"},
    "loops.optimization": {
        "loops.optimize": "_AutomaticOptimization=Automatic",
        "loops.manual": "_ManualOptimization=Manual",
    },
    "loops.optimization.automatic": {
        "loops.optimize": "_AutomaticOptimization=Automatic",
        "compat.absent": "Closure ClosureResult",
    },
    "loops.optimization.closure": {"compat.absent": "AbstractClosure OutputResult"},
    "loops.optimization.manual": {
        "loops.manual": "_ManualOptimization=Manual",
        "compat.absent": "ManualResult",
    },
    "loops.prediction_loop": {"loops.predict": "_PredictionLoop=PredictionLoop"},
    "loops.training_epoch_loop": {"loops.epoch": "_TrainingEpochLoop=EpochLoop", "compat.absent": "RestartStage"},
    "loops.utilities": {
        "utilities.model_helpers": "is_overridden",
        "compat.odds": "check_finite_loss is_param_in_hook_signature",
    },
    "overrides": {},
    "overrides.distributed": {
        "compat.absent": "UnrepeatedDistributedSampler UnrepeatedDistributedSamplerWrapper "
        "_IndexBatchSamplerWrapper prepare_for_backward",
        "utilities.rank_zero": "rank_zero_debug rank_zero_info",
    },
    "plugins": {
        "compat.absent": "BitsandbytesPrecision DeepSpeedPrecision FSDPPrecision TransformerEnginePrecision "
        "XLACheckpointIO XLAPrecision",
    },
    "plugins.collectives": {"compat.absent": "Collective SingleDeviceCollective TorchCollective"},
    "plugins.collectives.collective": {"compat.absent": "Collective"},
    "plugins.collectives.single_device": {"compat.absent": "SingleDeviceCollective"},
    "plugins.collectives.torch_collective": {
        "compat.absent": "TorchCollective",
        "compat.odds": "default_pg_timeout",
    },
    "plugins.environments": {"compat.absent": "XLAEnvironment"},
    "plugins.environments.xla": {"compat.absent": "XLAEnvironment"},
    "plugins.io": {"compat.absent": "XLACheckpointIO", "checkpoint.wrapping": "_WrappingCheckpointIO"},
    "plugins.io.async_plugin": {"checkpoint.wrapping": "_WrappingCheckpointIO"},
    "plugins.io.wrapper": {"checkpoint.io": "CheckpointIO"},
    "plugins.io.xla": {"compat.absent": "XLACheckpointIO"},
    "plugins.io.xla_plugin": {"compat.absent": "XLACheckpointIO"},
    "plugins.layer_sync": {"strategies.layer_sync": "_BatchNormXd=BatchNormXd"},
    "plugins.precision": {
        "compat.absent": "BitsandbytesPrecision DeepSpeedPrecision FSDPPrecision TransformerEnginePrecision "
        "XLAPrecision",
    },
    "plugins.precision.bitsandbytes": {"compat.absent": "BitsandbytesPrecision"},
    "plugins.precision.deepspeed": {"compat.absent": "DeepSpeedPrecision"},
    "plugins.precision.fsdp": {"compat.absent": "FSDPPrecision"},
    "plugins.precision.transformer_engine": {"compat.absent": "TransformerEnginePrecision"},
    "plugins.precision.utils": {},
    "plugins.precision.xla": {"compat.absent": "XLAPrecision"},
    "profilers": {"compat.absent": "XLAProfiler"},
    "profilers.base": {"profilers.profiler": "Profiler"},
    "profilers.xla": {"compat.absent": "XLAProfiler", "profilers.profiler": "Profiler"},
    "strategies": {
        "compat.absent": "DataParallelStrategy DeepSpeedStrategy FSDPStrategy ModelParallelStrategy "
        "SingleDeviceXLAStrategy XLAFSDPStrategy XLAStrategy",
        "strategies.registry": "_StrategyRegistry=Strategies STRATEGY_REGISTRY=StrategyRegistry",
    },
    "strategies.ddp": {"compat.odds": "default_pg_timeout"},
    "strategies.deepspeed": {
        "compat.absent": "DeepSpeedStrategy remove_module_hooks",
        "strategies.ddp": "DDPStrategy",
        "compat.odds": "default_pg_timeout",
    },
    "strategies.dp": {"compat.absent": "DataParallelStrategy"},
    "strategies.fsdp": {
        "compat.absent": "FSDPStrategy",
        "strategies.parallel": "ParallelStrategy",
        "compat.odds": "default_pg_timeout",
    },
    "strategies.launchers": _LAUNCHERS,
    "strategies.launchers.xla": {"compat.absent": "_XLALauncher"},
    "strategies.model_parallel": {
        "compat.absent": "ModelParallelStrategy TModel",
        "strategies.parallel": "ParallelStrategy",
        "compat.odds": "default_pg_timeout",
    },
    "strategies.parallel": {"strategies.strategy": "Strategy"},
    "strategies.registry": {"strategies.registry": "_StrategyRegistry=Strategies"},
    "strategies.single_device": {"checkpoint.io": "CheckpointIO"},
    "strategies.single_xla": {"compat.absent": "SingleDeviceXLAStrategy"},
    "strategies.strategy": {"checkpoint.io": "CheckpointIO TorchCheckpointIO"},
    "strategies.xla": {"compat.absent": "XLAStrategy", "strategies.ddp": "DDPStrategy"},
    "strategies.xla_fsdp": {"compat.absent": "XLAFSDPStrategy"},
    "trainer.call": {"utilities.model_helpers": "is_overridden"},
    "trainer.configuration_validator": {"utilities.model_helpers": "is_overridden"},
    "trainer.connectors": {},
    "trainer.connectors.accelerator_connector": {"compat.absent": "_AcceleratorConnector"},
    "trainer.connectors.callback_connector": {"compat.absent": "_CallbackConnector"},
    "trainer.connectors.checkpoint_connector": {"compat.absent": "_CheckpointConnector"},
    "trainer.connectors.data_connector": {"compat.absent": "_DataConnector _DataLoaderSource"},
    "trainer.connectors.logger_connector": {"compat.absent": "_LoggerConnector"},
    "trainer.connectors.logger_connector.fx_validator": {"compat.absent": "_FxValidator"},
    "trainer.connectors.logger_connector.logger_connector": {"compat.absent": "_LoggerConnector"},
    "trainer.connectors.logger_connector.result": {
        "loops.results": "_ResultCollection=Results",
        "utilities.data": "extract_batch_size",
        "utilities.memory": "recursive_detach",
    },
    "trainer.connectors.signal_connector": {"compat.absent": "_SignalConnector"},
    "trainer.setup": {"profilers.profiler": "Profiler"},
    "trainer.states": {"utilities.enums": "LightningEnum"},
    "utilities": {
        "compat.odds": "FLOAT16_EPSILON FLOAT32_EPSILON FLOAT64_EPSILON",
        "utilities.exceptions": "MisconfigurationException",
        "utilities.throughput": "Throughput ThroughputMonitor",
        "utilities.tree": "apply_to_collection",
    }
    | _RANK_ZERO,
    "utilities._pytree": {"compat.absent": "SUPPORTED_NODES"},
    "utilities.apply_func": {"compat.odds": "CONVERSION_DTYPES convert_tensors_to_scalars convert_to_tensors"},
    "utilities.argparse": {},
    "utilities.cloud_io": {"compat.odds": "_is_dir _is_local_file_protocol _atomic_save=atomic_save"},
    "utilities.combined_loader": {"utilities.data": "sized_len"},
    "utilities.consolidate_checkpoint": {},
    "utilities.data": {
        "utilities.parsing": "AttributeDict",
        "utilities.enums": "LightningEnum",
        "utilities.seed": "pl_worker_init_function",
        "utilities.warnings": "PossibleUserWarning",
    },
    "utilities.deepspeed": {
        "compat.absent": "convert_zero_checkpoint_to_fp32_state_dict ds_checkpoint_dir",
        "compat.odds": "CPU_DEVICE",
    },
    "utilities.device_dtype_mixin": {"core.device_dtype": "_DeviceDtypeModuleMixin=DeviceDtypeMixin"},
    "utilities.device_parser": {"compat.odds": "_determine_root_gpu_device _parse_gpu_ids"},
    "utilities.distributed": {
        "compat.absent": "DistributedSamplerWrapper",
        "compat.gone": "_sync_ddp_if_available=sync_ddp_if_available",
        "compat.odds": "ReduceOp _distributed_is_initialized _gather_all_tensors=gather_all_tensors",
    },
    "utilities.enums": {},
    "utilities.exceptions": {},
    "utilities.imports": {"*": "compat.flags"},
    "utilities.init": {"strategies.empty_init": "_EmptyInit=EmptyInit"},
    "utilities.load": {},
    "utilities.logger": {
        "compat.odds": "_add_prefix _flatten_dict",
        "loggers.values": "_convert_params=as_params",
        "loggers.logger": "rank_zero_experiment",
    },
    "utilities.migration": {"utilities.migration.utils": "migrate_checkpoint pl_legacy_patch"},
    "utilities.migration.migration": {"utilities.migration.utils": "migrate_checkpoint"},
    "utilities.model_registry": {"compat.absent": "download_model_from_registry find_model_local_ckpt_path"},
    "utilities.model_summary.model_summary": {
        "utilities.model_summary.table": "get_formatted_model_size get_human_readable_count",
        "compat.odds": "PARAMETER_NUM_UNITS",
    },
    "utilities.optimizer": {"strategies.optimizer_state": "_optimizer_to_device=move_optimizer"}
    | {"compat.odds": "_optimizers_to_device"},
    "utilities.rank_zero": {"compat.odds": "WarningCache rank_prefixed_message"},
    "utilities.seed": {
        "utilities.seed": "_collect_rng_states=collect_rng_state _set_rng_states=set_rng_state",
        "compat.odds": "max_seed_value min_seed_value",
    },
    "utilities.signature_utils": {"compat.odds": "is_param_in_hook_signature"},
    "utilities.testing": {"compat.absent": "_RunIf"},
    "utilities.testing._runif": {"compat.absent": "_RunIf"},
    "utilities.types": {"compat.odds": "CollectibleGroup ProcessGroup RedOpType ReduceOp"},
    "utilities.warnings": {"utilities.rank_zero": "LightningDeprecationWarning"},
    "wrappers": {"compat.absent": "_FabricModule _FabricOptimizer _FabricDataLoader"}
    | {"compat.odds": "T_destination is_wrapped", "utilities.types": "Optimizable"},
}
