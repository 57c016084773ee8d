"""Which module of Fulmen stands behind each import path of Lightning."""

from __future__ import annotations

import importlib.util
import re

# What `__version__` and the installed distributions say: the version whose interface Fulmen has.
VERSION = "2.6.6"

# Packages by their import names, longest first, and the distributions that would bring them.
ROOTS = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric")
DISTRIBUTIONS = {
    "lightning": "lightning",
    "pytorch-lightning": "pytorch_lightning",
    "lightning-fabric": "lightning_fabric",
}
PACKAGES = ("lightning", "pytorch_lightning", "lightning_fabric")

# What stands directly below a root of Fabric's; of these, what does not stand below the others.
FABRIC = {
    "__about__",
    "accelerators",
    "cli",
    "connector",
    "fabric",
    "loggers",
    "plugins",
    "strategies",
    "utilities",
    "wrappers",
}
ONLY_FABRIC = {"connector", "fabric", "wrappers"}
# Parts of Fulmen that Lightning has nothing of: their paths are Fulmen's alone.
OWN = {"as_lightning", "checkpoint", "compat", "data", "environments", "precision"}

# Below a root: modules whose things are in another module of Fulmen. Those below `compat.v1` are of the 1.x dialect.
MOVED = {
    "__about__": "compat.about",
    "callbacks.base": "callbacks.callback",
    "core.lightning": "core.module",
    "core.mixins.device_dtype_mixin": "core.device_dtype",
    "lite": "compat.v1.lite",
    "loggers.base": "loggers.logger",
    "loops.evaluation_loop": "loops.evaluate",
    "loops.fit_loop": "loops.fit",
    "loops.optimization.automatic": "loops.optimize",
    "loops.optimization.manual": "loops.manual",
    "loops.prediction_loop": "loops.predict",
    "loops.training_epoch_loop": "loops.epoch",
    "metrics": "compat.v1.metrics",
    "plugins.environments.kubeflow_environment": "environments.kubeflow",
    "plugins.environments.lightning_environment": "environments.lightning",
    "plugins.environments.lsf_environment": "environments.lsf",
    "plugins.environments.slurm_environment": "environments.slurm",
    "plugins.environments.torchelastic_environment": "environments.torchelastic",
    "plugins.io.checkpoint_io": "checkpoint.io",
    "plugins.io.checkpoint_plugin": "checkpoint.io",
    "plugins.io.torch_io": "checkpoint.io",
    "plugins.io.torch_plugin": "checkpoint.io",
    "plugins.precision.mixed": "precision.amp",
    "plugins.precision.native_amp": "precision.amp",
    "plugins.precision.precision_plugin": "precision.precision",
    "profiler": "profilers",
    "profiler.advanced": "profilers.advanced",
    "profiler.base": "profilers.profiler",
    "profiler.profiler": "profilers.profiler",
    "profiler.profilers": "profilers",
    "profiler.pytorch": "profilers.pytorch",
    "profiler.simple": "profilers.simple",
    "trainer.progress": "loops.progress",
    "utilities.apply_func": "utilities.tree",
    "utilities.cli": "cli",
    "utilities.device_dtype_mixin": "core.device_dtype",
}
# Packages whose modules are elsewhere, each under its own name.
MOVED_PACKAGES = {"metrics.": "compat.v1.metrics.", "plugins.environments.": "environments."}


def split(name: str) -> tuple[str, str] | None:
    """The root of an import path and what follows it.

    Args:
        name: The dotted path, such as ``"lightning.pytorch.callbacks"``.

    Returns:
        The two parts; None where the path is none of Lightning's, or a root.

    Example:
        >>> split("lightning.pytorch.callbacks.timer")
        ('lightning.pytorch', 'callbacks.timer')
    """
    for root in ROOTS:
        if name.startswith(root + "."):
            rest = name[len(root) + 1 :]
            top = rest.partition(".")[0]
            fits = top in FABRIC if root.endswith("fabric") else top not in ONLY_FABRIC
            return (root, rest) if fits and top not in OWN else None
    return None


def home(rest: str) -> str:
    """The module of Fulmen that has the things of a path below a root, or would have them.

    Args:
        rest: The path below the root.

    Returns:
        A path below ``fulmen``.
    """
    if exists(f"fulmen.{rest}"):
        return f"fulmen.{rest}"
    if rest in MOVED:
        return f"fulmen.{MOVED[rest]}"
    for before, now in MOVED_PACKAGES.items():
        if rest.startswith(before):
            rest = now + rest[len(before) :]
    return f"fulmen.{rest}"


def exists(module: str) -> bool:
    """Whether a module could be imported; imports the packages that it is in."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def normalized(name: str) -> str:
    """The name of a distribution as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def metadata_of(distribution: str) -> str:
    """The text of the metadata of a distribution that stands for Fulmen.

    Args:
        distribution: Its name.
    """
    return (
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {VERSION}\n"
        "Summary: A name under which Fulmen answers\nRequires-Python: >=3.10\nRequires-Dist: fulmen\n"
    )
