"""The launcher that a way of starting processes means."""

from __future__ import annotations

from typing import Any

from fulmen.strategies.launchers.launcher import _Launcher
from fulmen.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from fulmen.strategies.launchers.subprocess_script import _SubprocessScriptLauncher


def launcher_of(strategy: Any, start_method: str) -> _Launcher:
    """Makes the launcher of a strategy.

    Args:
        strategy: Whose processes are started.
        start_method: ``"popen"``, or a method of Python's ``multiprocessing``.
    """
    if start_method == "popen":
        return _SubprocessScriptLauncher(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)
    return _MultiProcessingLauncher(strategy, start_method)  # type: ignore[arg-type]
