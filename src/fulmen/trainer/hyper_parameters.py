"""Sends the hyper-parameters of module and data module to the loggers, once a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fulmen.utilities.exceptions import MisconfiguredRun

if TYPE_CHECKING:
    from fulmen.trainer.trainer import Trainer


def log_hyper_parameters(trainer: Trainer, module: Any, datamodule: Any) -> None:
    """Merges and logs hyper-parameters.

    Args:
        trainer: Whose loggers.
        module: The module.
        datamodule: The data module, or None.

    Raises:
        MisconfigurationException: If module and data module give one name two values.
    """
    if not trainer.loggers or not trainer.enable_autolog_hparams:
        return
    owners = [
        owner for owner in (module, datamodule) if owner is not None and getattr(owner, "_log_hyperparams", False)
    ]
    hparams = [dict(owner.hparams_initial) for owner in owners]
    if len(hparams) == 2:
        _refuse_conflicts(*hparams)
    merged: dict[str, Any] = {key: value for part in reversed(hparams) for key, value in part.items()}
    for logger in trainer.loggers:
        if owners:
            logger.log_hyperparams(merged)
        getattr(logger, "_save_soon", logger.save)()


def _refuse_conflicts(module: dict[str, Any], datamodule: dict[str, Any]) -> None:
    different = [name for name in module if name in datamodule and repr(module[name]) != repr(datamodule[name])]
    if different:
        raise MisconfiguredRun(
            "Hyper-parameters of module and data module are logged together, so a name that both use must mean the "
            "same value.",
            got=", ".join(f"{name}: {module[name]!r} and {datamodule[name]!r}" for name in different),
            fix="Rename one, make them equal, or leave one out with `save_hyperparameters(ignore=[...])` or "
            "`save_hyperparameters(logger=False)`.",
        )
