"""Names that people import from ``plugins``; each is defined elsewhere."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AsyncCheckpointIO": "fulmen.checkpoint.async_io",
        "CheckpointIO": "fulmen.checkpoint.io",
        "ClusterEnvironment": "fulmen.environments.cluster_environment",
        "DoublePrecision": "fulmen.precision.double",
        "HalfPrecision": "fulmen.precision.half",
        "KubeflowEnvironment": "fulmen.environments.kubeflow",
        "LSFEnvironment": "fulmen.environments.lsf",
        "LayerSync": "fulmen.strategies.layer_sync",
        "LightningEnvironment": "fulmen.environments.lightning",
        "MPIEnvironment": "fulmen.environments.mpi",
        "MixedPrecision": "fulmen.precision.amp",
        "Precision": "fulmen.precision.precision",
        "SLURMEnvironment": "fulmen.environments.slurm",
        "TorchCheckpointIO": "fulmen.checkpoint.io",
        "TorchElasticEnvironment": "fulmen.environments.torchelastic",
        "TorchSyncBatchNorm": "fulmen.strategies.layer_sync",
    },
)
