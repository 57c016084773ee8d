"""Which module of Fulmen stands behind each import path of Lightning."""

from __future__ import annotations

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

# Below a root: modules whose things are elsewhere in Fulmen.
MOVED = {
    "core.lightning": "core.module",
    "loggers.base": "loggers.logger",
    "metrics": "compat.v1.metrics",
    "utilities.apply_func": "utilities.tree",
}
# Packages whose modules are elsewhere, each under its own name.
MOVED_PACKAGES = {"metrics.": "compat.v1.metrics.", "plugins.environments.": "environments."}


def counterpart(name: str) -> str | None:
    """The module of Fulmen that an import path of Lightning means.

    Args:
        name: The dotted path, such as ``"lightning.pytorch.callbacks"``.

    Returns:
        The path below ``fulmen``; None where the path is none of Lightning's, or a root, which has a module of its own.

    Example:
        >>> counterpart("lightning.pytorch.callbacks.early_stopping")
        'fulmen.callbacks.early_stopping'
    """
    for root in ROOTS:
        if name.startswith(root + "."):
            rest = name[len(root) + 1 :]
            for before, now in MOVED_PACKAGES.items():
                if rest.startswith(before):
                    rest = now + rest[len(before) :]
            return f"fulmen.{MOVED.get(rest, rest)}"
    return None
