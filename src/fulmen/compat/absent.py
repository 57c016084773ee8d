"""What Lightning 2.6 has and Fulmen has not: stand-ins that can be imported."""

from __future__ import annotations

from typing import Any, TypeVar

from fulmen.compat.stand_in import table

TModel = TypeVar("TModel")
SUPPORTED_NODES: dict[Any, Any] = {}

_WHOLE = '`Trainer(strategy="ddp")` trains a whole model on each device.'
_XLA = '`Trainer(accelerator="auto")` takes the device that this machine has.'
_PRECISION = 'Pass one of the precisions that there are: `Trainer(precision="bf16-mixed")`.'
_INSIDE = "Use the attributes and methods of the Trainer: what is inside of it is made otherwise."
_DEEPSPEED = "DeepSpeed writes the script `zero_to_fp32.py` beside its checkpoints."
_FABRIC = "Write a `LightningModule` and use a `Trainer`, or a plain loop of PyTorch."
_REGISTRY = "Download the checkpoint with the client of its registry, and pass its path."
_PARALLEL, _DDP = "strategies.parallel.ParallelStrategy", "strategies.ddp.DDPStrategy"
_SAMPLER = "torch.utils.data.distributed.DistributedSampler"

_CLASSES = {
    "DataParallelStrategy": (_PARALLEL, _WHOLE),
    "DeepSpeedStrategy": (_DDP, _WHOLE),
    "FSDPStrategy": (_PARALLEL, _WHOLE),
    "ModelParallelStrategy": (_PARALLEL, _WHOLE),
    "XLAStrategy": (_DDP, _WHOLE),
    "XLAFSDPStrategy": (_PARALLEL, _WHOLE),
    "SingleDeviceXLAStrategy": ("strategies.single_device.SingleDeviceStrategy", _XLA),
    "XLAAccelerator": ("accelerators.accelerator.Accelerator", _XLA),
    "XLACheckpointIO": ("checkpoint.io.TorchCheckpointIO", "`TorchCheckpointIO` writes checkpoints of any device."),
    "XLAEnvironment": ("environments.cluster_environment.ClusterEnvironment", _XLA),
    "XLAProfiler": ("profilers.profiler.Profiler", "`PyTorchProfiler` measures what runs on a device."),
    "BitsandbytesPrecision": ("precision.precision.Precision", _PRECISION),
    "DeepSpeedPrecision": ("precision.precision.Precision", _PRECISION),
    "FSDPPrecision": ("precision.precision.Precision", _PRECISION),
    "TransformerEnginePrecision": ("precision.precision.Precision", _PRECISION),
    "XLAPrecision": ("precision.precision.Precision", _PRECISION),
    "LitLogger": ("loggers.logger.Logger", "Use one of the loggers of `fulmen.loggers`, such as `CSVLogger`."),
    "Fabric": ("", _FABRIC),
    "_Connector": ("", _FABRIC),
    "_FabricDataLoader": ("", _FABRIC),
    "_FabricModule": ("torch.nn.Module", _FABRIC),
    "_FabricOptimizer": ("", _FABRIC),
    "Collective": ("", "Call `torch.distributed` itself."),
    "SingleDeviceCollective": ("Collective", "Call `torch.distributed` itself."),
    "TorchCollective": ("Collective", "Call `torch.distributed` itself."),
    "DistributedSamplerWrapper": (_SAMPLER, "Use `torch.utils.data.DistributedSampler` on the data set."),
    "UnrepeatedDistributedSampler": (_SAMPLER, "Use `torch.utils.data.DistributedSampler` on the data set."),
    "UnrepeatedDistributedSamplerWrapper": (
        "UnrepeatedDistributedSampler",
        "Use `torch.utils.data.DistributedSampler` on the data set.",
    ),
    "_XLALauncher": ("strategies.launchers.multiprocessing._MultiProcessingLauncher", _XLA),
    "RestartStage": ("", _INSIDE),
    "_IndexBatchSamplerWrapper": ("", _INSIDE),
    "_Loop": ("", _INSIDE),
    "AbstractClosure": ("", _INSIDE),
    "Closure": ("AbstractClosure", _INSIDE),
    "OutputResult": ("", _INSIDE),
    "ClosureResult": ("OutputResult", _INSIDE),
    "ManualResult": ("OutputResult", _INSIDE),
    "_DataFetcher": ("", _INSIDE),
    "_DataLoaderIterDataFetcher": ("_DataFetcher", _INSIDE),
    "_PrefetchDataFetcher": ("_DataFetcher", _INSIDE),
    "_AcceleratorConnector": ("", _INSIDE),
    "_CallbackConnector": ("", _INSIDE),
    "_CheckpointConnector": ("", _INSIDE),
    "_DataConnector": ("", _INSIDE),
    "_DataLoaderSource": ("", _INSIDE),
    "_FxValidator": ("", _INSIDE),
    "_LoggerConnector": ("", _INSIDE),
    "_SignalConnector": ("", _INSIDE),
}
_FUNCTIONS = {
    "_RunIf": "Use `pytest.mark.skipif`.",
    "convert_zero_checkpoint_to_fp32_state_dict": _DEEPSPEED,
    "ds_checkpoint_dir": _DEEPSPEED,
    "download_model_from_registry": _REGISTRY,
    "find_model_local_ckpt_path": _REGISTRY,
    "main": "Start the script with `python`, or with `torchrun`.",
    "prepare_for_backward": _INSIDE,
    "remove_module_hooks": _INSIDE,
}
NAMES = (*_CLASSES, *_FUNCTIONS)

__getattr__ = table(__name__, "Fulmen has no {}.", _CLASSES, _FUNCTIONS)
