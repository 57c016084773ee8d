"""Python imports this as it starts, where `fulmen run` has put its folder on the path of a program and its children."""

import os
import sys


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
    try:
        from fulmen.compat.alias import install
    except ImportError:  # a child that runs in another environment
        pass
    else:
        install()
_go_on()
