"""The command line: ``LightningCLI`` for a script of one's own, and the command ``fulmen`` for any module.

Its names are imported when they are first used: they need jsonargparse, from ``pip install "fulmen[cli]"``.
"""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ArgsType": "fulmen.cli.types",
        "LRSchedulerCallable": "fulmen.cli.types",
        "LRSchedulerType": "fulmen.cli.types",
        "LRSchedulerTypeTuple": "fulmen.cli.types",
        "LRSchedulerTypeUnion": "fulmen.cli.types",
        "LightningArgumentParser": "fulmen.cli.parser",
        "LightningCLI": "fulmen.cli.lightning_cli",
        "ModuleType": "fulmen.core.class_paths",
        "Namespace": "fulmen.cli.types",
        "OptimizerCallable": "fulmen.cli.types",
        "ReduceLROnPlateau": "fulmen.cli.types",
        "SaveConfigCallback": "fulmen.cli.save_config",
        "instantiate_class": "fulmen.core.class_paths",
        "instantiate_module": "fulmen.core.class_paths",
    },
)
