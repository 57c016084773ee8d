"""Which environment this process runs in, as its variables show."""

from __future__ import annotations

import os

from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import LightningEnvironment
from fulmen.utilities.imports import available
from fulmen.utilities.rank_zero import warn_once

# What the launchers of MPI set: how many processes they have started.
_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def detect() -> ClusterEnvironment:
    """The environment of this process: that of torchrun, SLURM, LSF or MPI, or else that of a single program.

    Variables are looked at first, so that nothing is imported for an environment that is not there.

    Returns:
        A new one.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from fulmen.environments.torchelastic import TorchElasticEnvironment

        if TorchElasticEnvironment.detect():
            return TorchElasticEnvironment()
    if "SLURM_NTASKS" in os.environ:
        from fulmen.environments.slurm import SLURMEnvironment

        if SLURMEnvironment.detect():
            return SLURMEnvironment()
    if "JSM_NAMESPACE_SIZE" in os.environ:
        from fulmen.environments.lsf import LSFEnvironment

        if LSFEnvironment.detect():
            return LSFEnvironment()
    return _mpi() or LightningEnvironment()


def _mpi() -> ClusterEnvironment | None:
    sizes = [int(size) for size in map(os.environ.get, _MPI) if size and size.isdigit()]
    if max(sizes, default=1) < 2:
        return None
    if not available("mpi4py"):
        warn_once(
            f"This process is one of {max(sizes)} that `mpirun` has started, but without `mpi4py` they know nothing of "
            "each other, and each makes a run of its own. What to do: `pip install fulmen[mpi]`."
        )
        return None
    from fulmen.environments.mpi import MPIEnvironment

    return MPIEnvironment() if MPIEnvironment.detect() else None
