"""What Lightning 1.x had and nobody has any more: stand-ins that can be imported, and name what is used today."""

from __future__ import annotations

from fulmen.compat.stand_in import table

_AMP = 'Write `Trainer(precision="16-mixed")`: PyTorch has mixed precision itself.'
_DEVICE = "Its makers support current PyTorch no longer, or through a package of their own."
_DDP = 'Write `Trainer(strategy="ddp")`.'
_SHARDED = 'Write `Trainer(strategy="fsdp")`.'
_LOOP = "Loops cannot be replaced: write `self.automatic_optimization = False` and the steps in `training_step`."
_GATHER = "Write `self.all_gather(tensor, sync_grads=True)` in the module, or call `torch.distributed` itself."
_MEMORY = "Use the callback `DeviceStatsMonitor`, or `torch.cuda.memory_stats`."
_STRATEGY = "strategies.strategy.Strategy"
_PRECISION = "precision.precision.Precision"
_ACCELERATOR = "accelerators.accelerator.Accelerator"

_CLASSES = {
    "AllGatherGrad": ("", _GATHER),
    "ApexMixedPrecisionPlugin": (_PRECISION, _AMP),
    "ColossalAIPrecisionPlugin": (_PRECISION, _AMP),
    "HPUPrecisionPlugin": (_PRECISION, _DEVICE),
    "IPUPrecisionPlugin": (_PRECISION, _DEVICE),
    "ShardedNativeMixedPrecisionPlugin": (_PRECISION, _AMP),
    "HPUAccelerator": (_ACCELERATOR, _DEVICE),
    "IPUAccelerator": (_ACCELERATOR, _DEVICE),
    "HPUCheckpointIO": ("checkpoint.io.TorchCheckpointIO", _DEVICE),
    "BaguaStrategy": (_STRATEGY, _DDP),
    "ColossalAIStrategy": (_STRATEGY, _SHARDED),
    "DDP2Strategy": (_STRATEGY, _DDP),
    "DDPShardedStrategy": (_STRATEGY, _SHARDED),
    "DDPSpawnShardedStrategy": (_STRATEGY, _SHARDED),
    "HPUParallelStrategy": (_STRATEGY, _DEVICE),
    "HivemindStrategy": (_STRATEGY, _DDP),
    "HorovodStrategy": (_STRATEGY, _DDP),
    "IPUStrategy": (_STRATEGY, _DEVICE),
    "SingleHPUStrategy": (_STRATEGY, _DEVICE),
    "DDP2Plugin": (_STRATEGY, _DDP),
    "DDPShardedPlugin": (_STRATEGY, _SHARDED),
    "DDPSpawnShardedPlugin": (_STRATEGY, _SHARDED),
    "HorovodPlugin": (_STRATEGY, _DDP),
    "IPUPlugin": (_STRATEGY, _DEVICE),
    "RPCPlugin": (_STRATEGY, _DDP),
    "TestTubeLogger": ("loggers.logger.Logger", "Use `TensorBoardLogger`, which writes the same files."),
    "GradInformation": ("", "Call `fulmen.utilities.grad_norm(module, norm_type=2)`."),
    "ModelIO": ("", "Use the checkpoint hooks of `LightningModule`, which it was part of."),
    "Loop": ("", _LOOP),
    "EvaluationEpochLoop": ("Loop", _LOOP),
    "ManualOptimization": ("Loop", _LOOP),
    "OptimizerLoop": ("Loop", _LOOP),
    "PredictionEpochLoop": ("Loop", _LOOP),
    "TrainingBatchLoop": ("Loop", _LOOP),
    "LightningDataParallel": ("", _DDP),
    "LightningParallelModule": ("", _DDP),
    "LightningDistributedModule": ("", _DDP),
    "LightningShardedDataParallel": ("", _SHARDED),
    "_LightningModuleWrapperBase": ("", "Use the module itself: nothing wraps it."),
    "TrainerDataLoadingMixin": ("", "Use the hooks of `LightningDataModule`."),
    "AbstractDataFetcher": ("", "Loaders are read ahead by Fulmen itself; there is nothing to set."),
    "DataFetcher": ("AbstractDataFetcher", "Loaders are read ahead by Fulmen itself; there is nothing to set."),
    "CombinedDataset": ("", "Use `CombinedLoader`."),
    "CombinedLoaderIterator": ("", "Use `CombinedLoader`, and `iter` of it."),
    "CycleIterator": ("", 'Use `CombinedLoader(loaders, mode="max_size_cycle")`.'),
    "PredictionCollection": ("", "Use the callback `BasePredictionWriter`."),
    "TensorRunningAccum": ("", "Log with `self.log`, or use `torchmetrics.aggregation.RunningMean`."),
    "XLADeviceUtils": ("", _DEVICE),
}
_FUNCTIONS = {
    "all_gather_ddp_if_available": _GATHER,
    "get_gpu_memory_map": _MEMORY,
    "get_memory_profile": _MEMORY,
    "parameter_validation": "Tie shared weights in `__init__`; they stay shared.",
    "sync_ddp": _GATHER,
    "sync_ddp_if_available": _GATHER,
}
NAMES = (*_CLASSES, *_FUNCTIONS)

__getattr__ = table(__name__, "{} is of Lightning 1.x and is there no more.", _CLASSES, _FUNCTIONS)
