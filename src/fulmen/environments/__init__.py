"""Which process of a job this one is."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ClusterEnvironment": "fulmen.environments.cluster_environment",
        "KubeflowEnvironment": "fulmen.environments.kubeflow",
        "LSFEnvironment": "fulmen.environments.lsf",
        "LightningEnvironment": "fulmen.environments.lightning",
        "MPIEnvironment": "fulmen.environments.mpi",
        "SLURMEnvironment": "fulmen.environments.slurm",
        "TorchElasticEnvironment": "fulmen.environments.torchelastic",
    },
)
