"""Brings checkpoints of earlier versions of PyTorch Lightning to the layout of today."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.foreign import FOREIGN, well_known
from fulmen.utilities.imports import at_least, numbers_of
from fulmen.utilities.migration.layouts import CHANGES
from fulmen.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    from typing_extensions import Self

CURRENT = "2.6.6"  # whose layout checkpoints have today
_VERSION, _LEGACY = "pytorch-lightning_version", "legacy_pytorch-lightning_version"
# Callbacks whose classes are keys in files of versions before 1.5.
_CALLBACKS = {
    "early_stopping": ("EarlyStopping",),
    "finetuning": ("BackboneFinetuning", "BaseFinetuning"),
    "lambda_function": ("LambdaCallback",),
    "lr_monitor": ("LearningRateMonitor",),
    "model_checkpoint": ("ModelCheckpoint",),
    "pruning": ("ModelPruning",),
    "stochastic_weight_avg": ("StochasticWeightAveraging",),
    "timer": ("Timer",),
}


def migrate_checkpoint(
    checkpoint: dict[str, Any], target_version: str | None = None
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Brings a checkpoint to the layout of a later version of PyTorch Lightning, which is Fulmen's, too.

    Args:
        checkpoint: What was read from the file; changed in place. Its version stays in it as
            ``"legacy_pytorch-lightning_version"``.
        target_version: The version; None for that of today.

    Returns:
        The checkpoint, and the names of the changes that were made, by version.

    Raises:
        MisconfigurationException: If the checkpoint does not say which version it is of.
    """
    target = CURRENT if target_version is None else target_version
    version = checkpoint.get(_VERSION)
    if not isinstance(version, str):
        raise MisconfigurationException(
            f"A checkpoint says in {_VERSION!r} which version wrote it, and this one does not.",
            got=f"{version!r}, among the keys {sorted(map(str, checkpoint))}",
            fix=f"Set it: `checkpoint[{_VERSION!r}] = '1.5.0'`. A file of weights alone needs no upgrade: "
            "`module.load_state_dict(...)`.",
        )
    if at_least(version, target):
        if numbers_of(version) > numbers_of(CURRENT):
            rank_zero_warn(
                f"The checkpoint is of version {version} of PyTorch Lightning, and the newest layout known here is "
                f"that of {CURRENT}. What to do: upgrade Fulmen if something of it cannot be read."
            )
        return checkpoint, {}
    done: dict[str, list[str]] = {}
    for when, changes in CHANGES:
        if not at_least(version, when) and at_least(target, when):
            for change in changes:
                change(checkpoint)
            done[when] = [change.__name__ for change in changes]
    checkpoint.setdefault(_LEGACY, version)
    checkpoint[_VERSION] = target
    return checkpoint, done


def is_old(checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint has a layout that :func:`migrate_checkpoint` has to change before it can be used."""
    version = checkpoint.get(_VERSION)
    return isinstance(version, str) and not at_least(version, CHANGES[-1][0])


class pl_legacy_patch:
    """Lets files of old versions be read in a ``with`` block, without running code or having the classes in them.

    Example:
        ``with pl_legacy_patch(): checkpoint = torch.load(path, weights_only=True)``
    """

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(well_known())
        names: list[Any] = [
            (type(name, (_OldCallback,), {}), f"{package}.callbacks.{module}.{name}")
            for package in (*FOREIGN[:2], "lightning.pytorch")
            for module, classes in _CALLBACKS.items()
            for name in classes
        ]
        home = "pytorch_lightning.utilities.argparse_utils"
        names += [
            (_gpus_arg_default, f"{home}._gpus_arg_default"),
            (_gpus_arg_default, f"{home[:-6]}._gpus_arg_default"),
        ]
        self._stack.enter_context(torch.serialization.safe_globals(names))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class _OldCallback:
    """What stands for a callback's class where an old file has one as a key."""


def _gpus_arg_default(x: Any) -> Any:
    return x
