"""Chooses on what a Trainer runs: device, precision, strategy; and sets torch's global switches."""

from __future__ import annotations

import os
from typing import Any, Literal, TypeAlias

import torch

from fulmen.accelerators.accelerator import Accelerator
from fulmen.accelerators.registry import choose
from fulmen.checkpoint.io import CheckpointIO, TorchCheckpointIO
from fulmen.environments.cluster_environment import ClusterEnvironment
from fulmen.environments.lightning import LightningEnvironment
from fulmen.precision.precision import Precision
from fulmen.strategies.registry import resolve
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.strategies.strategy import Strategy
from fulmen.utilities.exceptions import MisconfigurationException

AcceleratorInput: TypeAlias = str | Accelerator
StrategyInput: TypeAlias = str | Strategy
PrecisionInput: TypeAlias = (
    Literal[
        64, 32, 16, "16-true", "16-mixed", "bf16-true", "bf16-mixed", "32-true", "64-true", "64", "32", "16", "bf16"
    ]
    | Precision
)
# How the variables of launchers begin.
_CLUSTERS = ("TORCHELASTIC_", "SLURM_", "JSM_", "OMPI_", "PMI_", "MV2_", "MPI_")

Plugin: TypeAlias = Precision | ClusterEnvironment | CheckpointIO


def set_backends(deterministic: bool | str | None, benchmark: bool | None) -> None:
    """Sets what ``deterministic`` and ``benchmark`` ask for; both last beyond the run, as they do in torch.

    Args:
        deterministic: True, False, ``"warn"`` or None to leave things as they are.
        benchmark: The value of ``torch.backends.cudnn.benchmark``, or None to leave it.

    Raises:
        MisconfigurationException: If one of them is something else.
    """
    if deterministic not in (None, True, False, "warn"):
        raise MisconfigurationException(
            '`deterministic` is True, False or "warn".',
            got=f"deterministic={deterministic!r}",
            fix="`Trainer(deterministic=True)`.",
        )
    if benchmark not in (None, True, False):
        raise MisconfigurationException(
            "`benchmark` is True or False.", got=f"benchmark={benchmark!r}", fix="`Trainer(benchmark=True)`."
        )
    if deterministic is not None:
        torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # see torch.use_deterministic_algorithms
    if benchmark is None and deterministic:
        benchmark = False
    if benchmark is not None:
        torch.backends.cudnn.benchmark = benchmark


def make_strategy(
    accelerator: Any,
    strategy: Any,
    devices: Any,
    num_nodes: int,
    precision: Any,
    plugins: Any,
    sync_batchnorm: bool = False,
) -> Strategy:
    """The strategy of a Trainer, with its device, precision, environment and checkpoint IO.

    Args:
        accelerator: See ``Trainer``, also for the other arguments.
        strategy: A name or a ``Strategy``.
        devices: How many, or which.
        num_nodes: How many machines.
        precision: A name, or None.
        plugins: A ``Precision``, ``CheckpointIO`` or ``ClusterEnvironment``, or several.
        sync_batchnorm: Whether batch normalization goes over the batches of all processes.

    Returns:
        The strategy.

    Raises:
        MisconfigurationException: If two of them contradict each other, or a plugin is of no known kind.
    """
    sorted_plugins = _sort_plugins(plugins)
    own_precision = sorted_plugins.get("precision")
    if own_precision is not None and precision is not None:
        raise MisconfigurationException(
            "Precision was given twice.",
            got=f"precision={precision!r} and plugins=[{type(own_precision).__name__}(...)]",
            fix="Leave one of them out.",
        )
    alone = isinstance(strategy, SingleDeviceStrategy) or strategy == SingleDeviceStrategy.strategy_name
    chosen, found = choose(accelerator, 1 if alone and devices == "auto" else devices)
    environment = sorted_plugins.get("environment") or _found_environment(strategy)
    made = resolve(strategy, chosen, found, own_precision or precision, num_nodes, environment)
    if "io" in sorted_plugins:
        made.checkpoint_io = sorted_plugins["io"]
    elif made.checkpoint_io is None:
        made.checkpoint_io = TorchCheckpointIO()
    if sync_batchnorm and hasattr(made, "_layer_sync") and made._layer_sync is None:
        from fulmen.strategies.layer_sync import TorchSyncBatchNorm

        made._layer_sync = TorchSyncBatchNorm()
    return made


def _found_environment(strategy: Any) -> ClusterEnvironment | None:
    """The environment that its variables show, where the user named none."""
    told = isinstance(strategy, Strategy) and type(strategy.cluster_environment) is not LightningEnvironment
    if told or not any(name.startswith(_CLUSTERS) for name in os.environ):
        return None
    from fulmen.environments.registry import detect  # only jobs of a cluster pay for it

    found = detect()
    return None if type(found) is LightningEnvironment else found


def _sort_plugins(plugins: Any) -> dict[str, Any]:
    kinds: dict[str, type] = {"precision": Precision, "io": CheckpointIO, "environment": ClusterEnvironment}
    given = [] if plugins is None else list(plugins) if isinstance(plugins, (list, tuple)) else [plugins]
    found: dict[str, Any] = {}
    for plugin in given:
        kind = next((name for name, base in kinds.items() if isinstance(plugin, base)), None)
        if kind is None or kind in found:
            raise MisconfigurationException(
                "`plugins` takes at most one `Precision`, one `CheckpointIO` and one `ClusterEnvironment`.",
                got=[type(plugin).__name__ for plugin in given],
                fix="`Trainer(plugins=[MyCheckpointIO()])`.",
            )
        found[kind] = plugin
    return found
