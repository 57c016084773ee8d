"""Python imports this as it starts, where `fulmen run` has put its folder on the path of a program and its children.

Most processes that a program starts never ask for one of Lightning's names, and pay nothing for them.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be imported by every process
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

PACKAGES = ("lightning", "pytorch_lightning", "lightning_fabric")  # as in `fulmen.compat.paths`


class OnDemand:
    """Puts the finder of Lightning's names in its own place when somebody asks for one of them."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """As other finders do."""
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        finder = self._replaced()
        return None if finder is None else finder.find_spec(fullname, path, target)

    def find_distributions(self, context: Any = None) -> Any:
        """As other finders do."""
        finder = self._replaced()
        return () if finder is None else finder.find_distributions(context)

    def _replaced(self) -> Any:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        try:
            from fulmen.compat.alias import install
        except ImportError:  # a child that runs in another environment
            return None
        return install()


def _go_on() -> None:
    """Runs the `sitecustomize` that this one hides, if there is one."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    others = [folder for folder in sys.path if os.path.abspath(folder) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("FULMEN_ALIAS"):
    sys.meta_path.insert(0, OnDemand())
_go_on()
