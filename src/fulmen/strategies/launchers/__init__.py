"""What starts the other processes of a run."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "_Launcher": "fulmen.strategies.launchers.launcher",
        "_MultiProcessingLauncher": "fulmen.strategies.launchers.multiprocessing",
        "_SubprocessScriptLauncher": "fulmen.strategies.launchers.subprocess_script",
    },
)
